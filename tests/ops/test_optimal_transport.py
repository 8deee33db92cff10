"""Plans against the recurrence in NumPy float64, proximal steps of the POT library, and the exact optimum."""

import jax
import jax.numpy as jnp
import numpy as np
import ot
import pytest
import torch
from torch.nn import functional

from vlfusion_jax.ops.optimal_transport import cosine_cost, ipot, transport_distance

BATCH, N, M, DIM = 3, 5, 7, 4
# Kept on either side: both in part and not from the left alone, all, one with one.
X_MASK = np.array([[0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 0, 1, 0, 0]])
Y_MASK = np.array([[1, 1, 0, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 1, 0]])


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(BATCH, count, DIM)).astype(np.float32) for count in (N, M)]


@pytest.fixture(scope="module")
def cost(vectors):
    return np.asarray(cosine_cost(*vectors, X_MASK, Y_MASK))


def kept(array, row):
    """What is kept of row `row` of [batch, n, m], in f64."""
    return np.asarray(array[row], np.float64)[np.ix_(X_MASK[row] > 0, Y_MASK[row] > 0)]


def recurrence(cost, beta, iterations, inner):
    """One row without padding, as the paper writes it: m is x here, and the scale of x is carried on."""
    n, m = cost.shape
    x_scale, plan, kernel = np.ones(n) / n, np.ones((n, m)), np.exp(-cost / beta)
    for _ in range(iterations):
        q = kernel * plan
        for _ in range(inner):
            y_scale = 1 / (m * (q.T @ x_scale))
            x_scale = 1 / (n * (q @ y_scale))
        plan = np.diag(x_scale) @ q @ np.diag(y_scale)
    return plan


def uniform(shape):
    return [np.full(count, 1 / count) for count in shape]


def test_cost_is_that_of_torch(vectors):
    theirs = [torch.tensor(x, requires_grad=True) for x in vectors]
    x, y = (functional.normalize(each, dim=-1, eps=1e-5) for each in theirs)
    joint = torch.tensor(X_MASK[:, :, None] * Y_MASK[:, None])
    expected = (1 - x @ y.transpose(1, 2)) * joint
    weights = np.random.default_rng(1).normal(size=(BATCH, N, M)).astype(np.float32)
    expected.backward(torch.tensor(weights))
    np.testing.assert_allclose(cosine_cost(*vectors, X_MASK, Y_MASK), expected.detach(), atol=1e-6)
    grads = jax.grad(lambda *xy: (cosine_cost(*xy, X_MASK, Y_MASK) * weights).sum(), (0, 1))(*vectors)
    for grad, their in zip(grads, theirs, strict=True):
        np.testing.assert_allclose(grad, their.grad, atol=1e-6)


def test_cost_of_a_zero_vector():
    one = np.ones((1, 1))
    grad = jax.grad(lambda x: cosine_cost(x, jnp.ones((1, 1, DIM)), one, one).sum())(jnp.zeros((1, 1, DIM)))
    assert np.isfinite(grad).all()
    assert cosine_cost(np.zeros((1, 1, DIM)), np.ones((1, 1, DIM)), one, one) == 1


@pytest.mark.parametrize(("beta", "iterations", "inner"), [(0.5, 50, 1), (0.1, 7, 3), (1.0, 1, 1)])
def test_plan_is_that_of_the_recurrence(cost, beta, iterations, inner):
    plan = ipot(cost, X_MASK, Y_MASK, beta, iterations, inner)
    assert plan.dtype == jnp.float32
    assert not np.asarray(plan)[(X_MASK[:, :, None] * Y_MASK[:, None]) == 0].any()
    for row in range(BATCH):
        np.testing.assert_allclose(kept(plan, row), recurrence(kept(cost, row), beta, iterations, inner), atol=2e-6)


def test_default_is_that_of_the_papers(cost):
    np.testing.assert_array_equal(ipot(cost, X_MASK, Y_MASK), ipot(cost, X_MASK, Y_MASK, 0.5, 50, 1))


def test_steps_are_proximal_ones_of_pot(cost):
    """With each step solved fully, a step is Sinkhorn on the cost less beta log(plan before)."""
    beta, steps = 0.3, 3
    plan = ipot(cost, X_MASK, Y_MASK, beta, steps, inner=100)
    for row in range(BATCH):
        exact_cost = kept(cost, row)
        expected = np.ones_like(exact_cost)
        for _ in range(steps):
            moved = exact_cost - beta * np.log(expected)
            expected = ot.sinkhorn(*uniform(moved.shape), moved, beta, method="sinkhorn_log", stopThr=1e-12)
        np.testing.assert_allclose(kept(plan, row), expected, atol=2e-6)


def test_many_steps_reach_the_optimum(cost):
    distances = transport_distance(cost, ipot(cost, X_MASK, Y_MASK, 0.1, 2000))
    exact = [ot.emd2(*uniform(kept(cost, row).shape), kept(cost, row)) for row in range(BATCH)]
    np.testing.assert_allclose(distances, exact, atol=1e-4)
    early = transport_distance(cost, ipot(cost, X_MASK, Y_MASK, 0.5, 5))
    assert (early[:2] > np.array(exact)[:2] + 1e-3).all()  # so that the steps are what the proof above is about


def test_marginals(cost):
    plan = np.asarray(ipot(cost, X_MASK, Y_MASK, 0.5, 500))
    np.testing.assert_allclose(plan.sum(2), X_MASK / X_MASK.sum(1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(plan.sum(1), Y_MASK / Y_MASK.sum(1, keepdims=True), atol=1e-3)


def test_padding_changes_nothing(vectors):
    x, y = vectors
    bare_cost = cosine_cost(x, y, X_MASK, Y_MASK)
    bare = ipot(bare_cost, X_MASK, Y_MASK)
    more = [((0, 0), (0, 2)), ((0, 0), (0, 3))]
    junk = [np.pad(v, (*m, (0, 0)), constant_values=9) for v, m in zip(vectors, more, strict=True)]
    masks = [np.pad(v, m) for v, m in zip((X_MASK, Y_MASK), more, strict=True)]
    padded_cost = cosine_cost(*junk, *masks)
    padded = np.asarray(ipot(padded_cost, *masks))
    np.testing.assert_allclose(padded[:, :N, :M], bare, atol=1e-7)
    assert not padded[:, N:].any()
    assert not padded[:, :, M:].any()
    junk_cost = np.where(X_MASK[:, :, None] * Y_MASK[:, None], bare_cost, -5)
    np.testing.assert_array_equal(ipot(junk_cost, X_MASK, Y_MASK), bare)


def test_rows_without_a_token_cost_nothing(vectors):
    nothing = np.zeros_like(X_MASK), np.zeros_like(Y_MASK)

    def distance(x, y, x_mask, y_mask):
        cost = cosine_cost(x, y, x_mask, y_mask)
        return transport_distance(cost, ipot(cost, x_mask, y_mask))

    for masks in ((nothing[0], Y_MASK), (X_MASK, nothing[1]), nothing):
        assert not np.asarray(distance(*vectors, *masks)).any()
        grads = jax.grad(lambda x, y, masks=masks: distance(x, y, *masks).sum(), (0, 1))(*vectors)
        assert not any(np.asarray(grad).any() for grad in grads)
    mixed = X_MASK.copy()
    mixed[1] = 0
    ours = distance(*vectors, mixed, Y_MASK)
    np.testing.assert_array_equal(ours, np.where([1, 0, 1], distance(*vectors, X_MASK, Y_MASK), 0))


def test_gradient_holds_the_plan(vectors):
    """By finite differences of the distance in f64 at the plan of the start."""
    x, y = (v.astype(np.float64) for v in vectors)
    plan = np.asarray(ipot(cosine_cost(*vectors, X_MASK, Y_MASK), X_MASK, Y_MASK), np.float64)

    def total(x, y):
        x, y = (v / np.linalg.norm(v, axis=-1, keepdims=True) for v in (x, y))
        return ((1 - x @ y.swapaxes(1, 2)) * plan).sum()

    def ours(x):
        cost = cosine_cost(x, vectors[1], X_MASK, Y_MASK)
        return transport_distance(cost, ipot(cost, X_MASK, Y_MASK)).sum()

    expected, small = np.zeros_like(x), 1e-6
    for place in np.ndindex(x.shape):
        nudge = np.zeros_like(x)
        nudge[place] = small
        expected[place] = (total(x + nudge, y) - total(x - nudge, y)) / (2 * small)
    np.testing.assert_allclose(jax.grad(ours)(vectors[0]), expected, atol=1e-5)


def test_low_precision_is_raised(vectors):
    low = [jnp.asarray(v, jnp.bfloat16) for v in vectors]
    same = [np.asarray(v, np.float32) for v in low]
    np.testing.assert_array_equal(cosine_cost(*low, X_MASK, Y_MASK), cosine_cost(*same, X_MASK, Y_MASK))
