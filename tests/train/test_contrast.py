"""A contrast in parts has the value, metrics and gradient of the big batch."""

import jax
import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.train.momentum import PARAMS
from vlfusion_jax.train.setup import build

ROWS = 8


def batch_of(seed: int) -> dict[str, np.ndarray]:
    """Random pairs; two of one record, two of one text, one without a caption."""
    rng = np.random.default_rng(seed)
    texts = rng.integers(5, 60, (ROWS, 10)).astype(np.int32)
    texts[3] = texts[6]
    mask = (np.arange(10) < rng.integers(3, 11, (ROWS, 1))).astype(np.int32)
    mask[3] = mask[6]
    plain = {
        names.TEXT: texts * mask,
        names.TEXT_MASK: mask,
        names.CAPTION_WEIGHT: (np.arange(ROWS) != 5).astype(np.float32),
        names.RECORD: np.array([0, 1, 2, 3, 4, 5, 6, 1], np.int32),
    }
    hidden = {
        names.TEXT: texts * mask,
        names.TEXT_MASK: mask,
        names.MLM_POSITIONS: rng.integers(0, 3, (ROWS, 2)).astype(np.int32),
        names.MLM_LABELS: rng.integers(0, 60, (ROWS, 2)).astype(np.int32),
        names.MLM_WEIGHTS: rng.integers(0, 2, (ROWS, 2)).astype(np.float32),
    }
    images = {
        names.IMAGE: rng.integers(256, size=(ROWS, 16, 24, 3)).astype(np.uint8),
        names.IMAGE_MASK: np.ones((ROWS, 16, 24), np.uint8),
    }
    views = {names.PLAIN: plain, names.MASKED: hidden}
    return images | {names.key(view, name): x for view, entries in views.items() for name, x in entries.items()}


def updated(small_config, small_vocabulary, parts: int, family: str, **changes):
    """State and metrics behind two updates."""
    tasks = {"tasks__vqa__weight": 0.0, "tasks__itm__weight": 0.0, "tasks__itc__weight": 0.7}
    config = small_config(model__family="single_stream", train__batch_size=ROWS, **tasks | changes)
    config.model = hyperparameters(family, "tiny", patch_size=8)
    config.train.micro_batches = parts
    run = build(config, small_vocabulary, jax.devices()[:1])
    state = run.init_state()
    for seed in (1, 2):
        state, metrics = run.train_step(state, batch_of(seed))
    return state, metrics


MOMENTUM = {"tasks__itc__momentum": 0.5, "tasks__itc__queue": 16, "tasks__mlm__weight": 1.3}


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        pytest.param("albef", {"tasks__mlm__weight": 1.3}, marks=pytest.mark.slow),
        ("albef", MOMENTUM),
        pytest.param("albef", {"tasks__mlm__weight": 1.3, "tasks__combine": "uncertainty"}, marks=pytest.mark.slow),
        pytest.param("siglip", {"tasks__itc__loss": "sigmoid", "tasks__mlm__weight": 0.0}, marks=pytest.mark.slow),
    ],
    ids=["softmax", "momentum", "uncertainty", "sigmoid"],
)
def test_parts_equal_the_big_batch(small_config, small_vocabulary, family, changes):
    whole, of_whole = updated(small_config, small_vocabulary, 1, family, **changes)
    parts, of_parts = updated(small_config, small_vocabulary, 4, family, **changes)
    assert of_parts.keys() == of_whole.keys()
    for name, value in of_whole.items():
        np.testing.assert_allclose(of_parts[name], value, rtol=1e-5, err_msg=name)
    trees = [(whole.params, parts.params)]
    if PARAMS in whole.extras:
        trees.append((whole.extras, parts.extras))
    for expected, found in trees:
        for name, leaf in flatten(expected).items():
            np.testing.assert_allclose(flatten(found)[name], leaf, atol=2e-5, err_msg=name)
