"""Masked language modelling against float64 NumPy."""

import numpy as np
import pytest

from vlfusion_jax.tasks.mlm import LABELS, WEIGHTS, MaskedLanguageModelling

ROWS, PLACES, CLASSES = 4, 3, 17
TASK = MaskedLanguageModelling()


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(0)
    logits = (3 * rng.normal(size=(ROWS, PLACES, CLASSES))).astype(np.float32)
    labels = rng.integers(CLASSES, size=(ROWS, PLACES)).astype(np.int32)
    labels[:, 0] = logits[:, 0].argmax(-1)
    weights = (rng.random((ROWS, PLACES)) > 0.4).astype(np.float32)
    weights[1] = 0
    weights[0, 0] = 1
    return logits, labels, weights


def test_loss_and_accuracy(case, output_of, log_softmax):
    logits, labels, weights = case
    output, batch = output_of(mlm=logits), {LABELS: labels, WEIGHTS: weights}
    picked = np.take_along_axis(log_softmax(logits), labels[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(TASK.loss(output, batch), -(picked * weights).sum(), rtol=1e-6)
    assert float(TASK.weight(batch)) == weights.sum()
    total, weight = TASK.metrics(output, batch)["mlm_accuracy"]
    assert float(total) == ((logits.argmax(-1) == labels) * weights).sum() > 0
    assert float(weight) == weights.sum() > float(total)


def test_places_of_weight_zero_do_not_count(case, output_of):
    logits, labels, weights = case
    other = np.where(weights[..., None] > 0, logits, 50.0)
    one, two = (TASK.loss(output_of(mlm=x), {LABELS: labels, WEIGHTS: weights}) for x in (logits, other))
    assert float(one) == float(two)


def test_nothing_to_predict(case, output_of, check_nothing_counts):
    logits, labels, weights = case
    check_nothing_counts(TASK, output_of(mlm=logits), {LABELS: labels, WEIGHTS: 0 * weights})
