"""Image-text matching against float64 NumPy."""

import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.tasks import itm
from vlfusion_jax.tasks.itm import LABEL, WEIGHT, ImageTextMatching, pair_weights

ROWS = 9
TASK = ImageTextMatching()


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(1)
    logits = (2 * rng.normal(size=(ROWS, 2))).astype(np.float32)
    return logits, rng.integers(2, size=ROWS).astype(np.int32), (np.arange(ROWS) % 3 > 0).astype(np.float32)


def test_loss_and_accuracy(case, output_of):
    logits, label, weight = case
    output, batch = output_of(itm=logits), {LABEL: label, WEIGHT: weight}
    margin = (logits[:, 1].astype(np.float64) - logits[:, 0]) * np.where(label == 1, 1, -1)
    np.testing.assert_allclose(TASK.loss(output, batch), (np.log1p(np.exp(-margin)) * weight).sum(), rtol=1e-6)
    total, of = TASK.metrics(output, batch)["itm_accuracy"]
    assert float(of) == float(TASK.weight(batch)) == weight.sum()
    assert 0 < float(total) == ((margin > 0) * weight).sum() < float(of)


def test_no_pair(case, output_of, check_nothing_counts):
    logits, label, weight = case
    check_nothing_counts(TASK, output_of(itm=logits), {LABEL: label, WEIGHT: 0 * weight})


@pytest.fixture(scope="module")
def plain():
    """Seven pairs: 0 and 3 are of one record, 1 and 4 read the same, 6 has no caption."""
    text = np.random.default_rng(2).integers(3, 50, (7, 4)).astype(np.int32)
    text[4] = text[1]
    weight = np.array([1, 1, 1, 1, 1, 1, 0], np.float32)
    return {itm.TEXT: text, itm.CAPTION_WEIGHT: weight, itm.RECORD: np.array([4, 11, 2, 4, 8, 0, 4], np.int32)}


def test_hard_pairs(plain, output_of):
    task, logits = ImageTextMatching(names.HARD), 2 * np.random.default_rng(3).normal(size=(21, 2))
    logits = logits.astype(np.float32)
    valid = np.tile([True] * 6 + [False], 3)
    margin = (logits[:, 1].astype(np.float64) - logits[:, 0]) * np.where(np.arange(21) < 7, 1, -1)
    output = output_of(itm=logits)
    assert float(task.weight(plain)) == 18
    np.testing.assert_allclose(task.loss(output, plain), np.log1p(np.exp(-margin[valid])).sum(), rtol=1e-6)
    total, of = task.metrics(output, plain)["itm_accuracy"]
    assert (float(total), float(of)) == ((margin[valid] > 0).sum(), 18)


def test_pairs_with_nothing_else_in_the_batch_do_not_count(plain):
    """All of one record but one without a caption: what matches is left."""
    task, alike = ImageTextMatching(names.HARD), plain | {itm.RECORD: np.full(7, 5, np.int32)}
    np.testing.assert_array_equal(pair_weights(alike, names.HARD), [1, 1, 1, 1, 1, 1, 0] + [0] * 14)
    assert float(task.weight(alike)) == 6
    # Only texts that read the same are left.
    two = plain | {itm.CAPTION_WEIGHT: np.array([0, 1, 0, 0, 1, 0, 0], np.float32)}
    np.testing.assert_array_equal(pair_weights(two, names.HARD), [0, 1, 0, 0, 1, 0, 0] + [0] * 14)


def test_no_hard_pair(plain, output_of, check_nothing_counts):
    logits = np.random.default_rng(4).normal(size=(21, 2)).astype(np.float32)
    nothing = plain | {itm.CAPTION_WEIGHT: np.zeros(7, np.float32)}
    check_nothing_counts(ImageTextMatching(names.HARD), output_of(itm=logits), nothing)
