"""Masked regions of a detector in a run: what the loss is at first, against NumPy, and that it falls."""

import jax
import numpy as np
import pytest

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.tasks.mrm import HIDDEN
from vlfusion_jax.train.arithmetic import passes
from vlfusion_jax.train.setup import build
from vlfusion_jax.train.views import run_views

IMAGES, ROOM, FEATURES, CLASSES = 8, 6, 5, 4


def run_of(small_vocabulary, family, target, **changes):
    config = default_config()
    config.model = hyperparameters(family, "tiny", region_patch=0, region_features=FEATURES)
    settings = {
        "data.regions": ROOM, "data.caption_length": 8, "data.question_length": 6, "tasks.vqa.weight": 0.0,
        "tasks.mrm.weight": 1.0, "tasks.mrm.rate": 0.4, "tasks.mrm.target": target, "tasks.mrm.classes": CLASSES,
        "train.batch_size": IMAGES, "eval.batch_size": IMAGES, "optim.lr": 1e-2, "optim.warmup_steps": 5,
        "train.steps": 60,
    }  # fmt: skip
    config.update_from_flattened_dict(settings | {key.replace("__", "."): value for key, value in changes.items()})
    return config, build(config, small_vocabulary, jax.devices()[:1])


def regions_of_one_kind(config, random_batch):
    """A batch in which all regions of an image are of its class, so that the shown tell the hidden."""
    batch, rng = random_batch(config, 1), np.random.default_rng(2)
    kinds = rng.integers(CLASSES, size=IMAGES)
    vectors = rng.normal(size=(CLASSES, FEATURES))
    batch[names.REGIONS] = np.repeat(vectors[kinds][:, None], ROOM, axis=1).astype(np.float32)
    if names.REGION_LABELS in batch:
        labels = np.repeat(kinds[:, None], ROOM, axis=1)
        batch[names.REGION_LABELS] = np.where(np.arange(ROOM) == 1, -1, labels).astype(np.int32)
    if names.REGION_CLASSES in batch:
        shares = 0.7 * np.eye(CLASSES)[kinds] + 0.3 / CLASSES
        batch[names.REGION_CLASSES] = np.repeat(shares[:, None], ROOM, axis=1).astype(np.float32)
    return batch


def loss_of(batch, predicted, target):
    """The task's mean loss, region by region in float64."""
    losses = []
    for (image, place), region in np.ndenumerate(batch[HIDDEN]):
        x = np.asarray(predicted[image, place], np.float64)
        if region < 0:
            continue
        if target == "feature":
            losses.append(((x - batch[names.REGIONS][image, region]) ** 2).mean())
            continue
        log_p = x - x.max() - np.log(np.exp(x - x.max()).sum())
        if target == "class":
            label = batch[names.REGION_LABELS][image, region]
            losses += [-log_p[label]] if label >= 0 else []
        else:
            share = batch[names.REGION_CLASSES][image, region].astype(np.float64)
            losses.append((share * (np.log(share) - log_p)).sum())
    return sum(losses) / len(losses)


@pytest.mark.parametrize(
    ("family", "target", "most"),
    [
        ("uniter", "class", 0.1),
        ("visualbert", "kl", 0.1),
        ("lxmert", "feature", 0.3),
        pytest.param("vilbert", "class", 0.1, marks=pytest.mark.slow),
    ],
)
def test_first_loss_is_that_of_numpy_and_it_falls(small_vocabulary, random_batch, family, target, most):
    config, run = run_of(small_vocabulary, family, target)
    batch = regions_of_one_kind(config, random_batch)
    assert not set(batch) & {names.IMAGE, names.IMAGE_MASK}
    state, losses = run.init_state(), []
    predicted = run_views(run.model, state.params, batch, run.tasks, None)[names.MASKED_IMAGE].logits[names.MRM]
    for _ in range(60):
        state, metrics = run.train_step(state, batch)
        losses.append(float(metrics["mrm_loss"]))
    np.testing.assert_allclose(losses[0], loss_of(batch, predicted[target], target), rtol=1e-5)
    assert losses[-1] < most * losses[0], losses


def test_what_is_hidden_tells_nothing_of_itself(small_vocabulary, random_batch, random_state):
    config, run = run_of(small_vocabulary, "uniter", "feature")
    batch, params = random_batch(config, 3), random_state(run).params
    changed = batch[names.REGIONS].copy()
    for (image, _), region in np.ndenumerate(batch[HIDDEN]):
        if region >= 0:
            changed[image, region] += 1
    found = [
        run_views(run.model, params, batch | {names.REGIONS: x}, run.tasks, None)[names.MASKED_IMAGE].logits[names.MRM]
        for x in (batch[names.REGIONS], changed, changed + 1)
    ]
    np.testing.assert_array_equal(found[0]["feature"], found[1]["feature"])
    assert np.abs(np.asarray(found[0]["feature"]) - found[2]["feature"]).max() > 1e-4


def test_padding_changes_nothing(small_vocabulary, random_batch, random_state):
    config, run = run_of(small_vocabulary, "lxmert", "class", tasks__vqa__weight=1.0)
    batch, params = random_batch(config, 4), random_state(run).params
    mask = batch[names.REGION_MASK] = (np.arange(ROOM) < 4 + np.arange(IMAGES)[:, None] % 2).astype(np.int32)
    other = batch | {name: np.where(mask[..., None] > 0, batch[name], 7) for name in (names.REGIONS, names.BOXES)}
    found = [run.eval_step(params, each) for each in (batch, other)]
    for name, (total, weight) in found[0].items():
        np.testing.assert_allclose((total, weight), found[1][name], rtol=1e-6, err_msg=name)


def test_micro_batches_and_eight_devices_equal_one(small_vocabulary, random_batch, random_state):
    curves = []
    for devices, changes in ((1, {}), (1, {"train__micro_batches": 2}), (8, {"sharding": "fsdp"})):
        config, _ = run_of(small_vocabulary, "uniter", "kl", tasks__vqa__weight=0.5, tasks__itm__weight=0.5, **changes)
        run = build(config, small_vocabulary, jax.devices()[:devices])
        state, losses = random_state(run), []
        for step in range(3):
            batch = regions_of_one_kind(config, lambda config, _, step=step: random_batch(config, step))
            batch = {key: jax.device_put(x, run.batch_sharding) for key, x in batch.items()}
            state, metrics = run.train_step(state, batch)
            losses.append([float(metrics[key]) for key in ("loss", "mrm_loss", "itm_loss", "vqa_loss")])
        curves.append(losses)
    np.testing.assert_allclose(curves[1], curves[0], atol=2e-5, rtol=0)
    np.testing.assert_allclose(curves[2], curves[0], atol=2e-5, rtol=0)


def test_flops_count_the_room_of_the_batch(small_vocabulary):
    """Twice the regions: each more by its own tokens' products, and not by the model's nominal number."""
    few = run_of(small_vocabulary, "visualbert", "feature")[1]
    many = run_of(small_vocabulary, "visualbert", "feature", model__regions=99)[1]
    assert few.flops_per_step == many.flops_per_step
    more = run_of(small_vocabulary, "visualbert", "feature", data__regions=2 * ROOM)[1]
    assert more.flops_per_step > few.flops_per_step
    [only] = passes(few.config, few.model.spec)
    assert only.heads == (names.MRM,)
    image = few.model.spec.input("image")
    assert (image.count, image.features) == (ROOM, FEATURES)
    assert flatten(few.abstract_state.params)["head_mrm/feature/kernel"].shape == (32, FEATURES)
