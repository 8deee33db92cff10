"""Fused vectors drawn towards given ones, against float64 NumPy: loss, gradient, cosine."""

import jax
import numpy as np
import pytest

from vlfusion_jax.tasks.context import VECTOR, WEIGHT, ContextAlignment

ROWS, WIDTH = 11, 5


@pytest.fixture(scope="module")
def case():
    rng = np.random.default_rng(3)
    predicted, given = (rng.normal(size=(ROWS, WIDTH)).astype(np.float32) for _ in range(2))
    weight = (np.arange(ROWS) % 4 > 0).astype(np.float32)
    given[weight == 0] = 0
    return predicted, given, weight


def expected(criterion, predicted, given, weight):
    """(sum of the losses, its gradient at the predictions, cosines), in float64."""
    x, y = predicted.astype(np.float64), given.astype(np.float64)
    x_length, y_length = (np.linalg.norm(v, axis=1, keepdims=True) for v in (x, np.where(weight[:, None] > 0, y, 1)))
    cosine = (x * y).sum(1, keepdims=True) / (x_length * y_length)
    if criterion == "mse":
        return (((x - y) ** 2).mean(1) * weight).sum(), 2 / WIDTH * (x - y) * weight[:, None], cosine[:, 0]
    grad = cosine * x / x_length**2 - y / (x_length * y_length)
    return ((1 - cosine[:, 0]) * weight).sum(), grad * weight[:, None], cosine[:, 0]


@pytest.mark.parametrize("criterion", ["mse", "cosine"])
def test_loss_gradient_and_cosine(case, output_of, criterion):
    task, (predicted, given, weight) = ContextAlignment(criterion), case
    batch = {VECTOR: given, WEIGHT: weight}
    loss, grad, cosine = expected(criterion, *case)
    value, found = jax.value_and_grad(lambda x: task.loss(output_of(context=x), batch))(predicted)
    np.testing.assert_allclose(value, loss, rtol=1e-6)
    np.testing.assert_allclose(found, grad, atol=1e-6)
    total, of = task.metrics(output_of(context=predicted), batch)["context_cosine"]
    assert float(of) == float(task.weight(batch)) == weight.sum()
    np.testing.assert_allclose(total, (cosine * weight).sum(), rtol=1e-5)


@pytest.mark.parametrize("criterion", ["mse", "cosine"])
def test_no_vector(case, output_of, check_nothing_counts, criterion):
    predicted, given, _ = case
    batch = {VECTOR: 0 * given, WEIGHT: np.zeros(ROWS, np.float32)}
    check_nothing_counts(ContextAlignment(criterion), output_of(context=predicted), batch)
