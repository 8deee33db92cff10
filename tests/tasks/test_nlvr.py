"""Reasoning about pairs of images against float64 NumPy."""

import numpy as np
import pytest

from vlfusion_jax.tasks.nlvr import LABEL, WEIGHT, VisualReasoning

PAIRS = 9
TASK = VisualReasoning()


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(1)
    logits = (2 * rng.normal(size=(PAIRS, 2))).astype(np.float32)
    return logits, rng.integers(2, size=PAIRS).astype(np.int32), (np.arange(PAIRS) % 3 > 0).astype(np.float32)


def test_loss_and_accuracy(case, output_of):
    logits, label, weight = case
    output, batch = output_of(nlvr=logits), {LABEL: label, WEIGHT: weight}
    margin = (logits[:, 1].astype(np.float64) - logits[:, 0]) * np.where(label == 1, 1, -1)
    np.testing.assert_allclose(TASK.loss(output, batch), (np.log1p(np.exp(-margin)) * weight).sum(), rtol=1e-6)
    total, of = TASK.metrics(output, batch)["accuracy"]
    assert float(of) == float(TASK.weight(batch)) == weight.sum()
    assert 0 < float(total) == ((margin > 0) * weight).sum() < float(of)


def test_no_pair(case, output_of, check_nothing_counts):
    logits, label, weight = case
    check_nothing_counts(TASK, output_of(nlvr=logits), {LABEL: label, WEIGHT: 0 * weight})
