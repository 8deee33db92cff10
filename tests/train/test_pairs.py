"""Pairs of images train alike in one part or several, on one device or eight, and stay whole."""

import re
from functools import cache

import jax
import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.given import ANY_GIVEN
from vlfusion_jax.models.families.table import FAMILIES as FAMILY_TABLE
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.models.parameters import param_shapes
from vlfusion_jax.train.accumulate import split_batch
from vlfusion_jax.train.begin import TYPES
from vlfusion_jax.train.setup import build

PAIRS, STEPS = 16, 4
FAMILIES = {"vilt": {"modalities": 3}, "visualbert": {}}
CASES = [(1, "dp", 4), (8, "dp", 2), (8, "fsdp_tp", 1)]


@pytest.fixture(scope="module")
def make_config(small_config):
    def make(family, **changes):
        tasks = {f"tasks__{name}__weight": float(name == "nlvr") for name in names.TASKS}
        config = small_config(data__questions_per_image=1, train__batch_size=PAIRS, **tasks, **changes)
        config.model = hyperparameters(family, "tiny", **FAMILIES[family])
        return config

    return make


@pytest.fixture(scope="module")
def curves(make_config, small_vocabulary, random_batch, random_state):
    """Function (family, devices, sharding, micro-batches) -> metrics of every step."""

    @cache
    def train(family, devices, sharding, parts):
        config = make_config(family, sharding=sharding, train__micro_batches=parts, optim__lr=3e-3)
        run = build(config, small_vocabulary, jax.devices()[:devices])
        state, lines = random_state(run), []
        for step in range(STEPS):
            made = random_batch(config, step)
            made["statement/image_modality"] = np.tile(np.array([1, 2], np.int32), PAIRS)
            batch = {key: jax.device_put(x, run.batch_sharding) for key, x in made.items()}
            state, metrics = run.train_step(state, batch)
            lines.append([float(metrics[name]) for name in ("loss", "nlvr_loss", "accuracy", "grad_norm")])
        return np.array(lines)

    return train


@pytest.mark.parametrize(("devices", "sharding", "parts"), CASES)
@pytest.mark.parametrize("family", FAMILIES)
def test_devices_and_parts_change_nothing(curves, family, devices, sharding, parts):
    whole = curves(family, 1, "dp", 1)
    assert np.isfinite(whole).all()
    np.testing.assert_allclose(curves(family, devices, sharding, parts), whole, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "key"), [("vilt", "modalities"), ("meter", "modalities"), ("uniter", "token_types")]
)
def test_the_tables_that_a_pair_makes_longer_may_grow(family, key):
    """Else a run on pairs could not start from weights of single images."""
    one, two = (
        param_shapes(FAMILY_TABLE[family].spec(hyperparameters(family, "tiny", **{key: rows}), ANY_GIVEN), ())
        for rows in (2, 3)
    )
    grown = [name for name, shape in two.items() if shape != one[name]]
    assert len(grown) == 1
    assert any(re.search(pattern, grown[0]) for pattern in TYPES)


def test_parts_hold_whole_pairs():
    batch = {"image": np.arange(2 * PAIRS), "label": np.arange(PAIRS)}
    parts = split_batch(batch, 4, PAIRS)
    for part in range(4):
        labels, images = (np.asarray(parts[name][part]) for name in ("label", "image"))
        np.testing.assert_array_equal(labels, np.arange(part, PAIRS, 4))
        np.testing.assert_array_equal(images.reshape(-1, 2), 2 * labels[:, None] + [0, 1])


def test_devices_hold_whole_pairs(make_config, small_vocabulary, random_batch):
    config = make_config("vilt")
    sharding = build(config, small_vocabulary).strategy.batch_sharding
    images, labels = (jax.device_put(np.arange(n), sharding) for n in (2 * PAIRS, PAIRS))
    for of_images, of_labels in zip(images.addressable_shards, labels.addressable_shards, strict=True):
        assert of_images.device == of_labels.device
        np.testing.assert_array_equal(np.asarray(of_images.data)[::2] // 2, of_labels.data)


def test_fewer_pairs_than_devices_are_refused(make_config, small_vocabulary):
    """Eight images would divide among eight devices; four pairs do not."""
    config = make_config("vilt")
    config.train.batch_size = 4
    with pytest.raises(UserError, match=r"train\.batch_size=4 does not divide by 8"):
        build(config, small_vocabulary)
