"""Losses and their gradients against PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional

from vlfusion_jax.ops.attention import MASKED_SCORE
from vlfusion_jax.ops.cosine import cosine_similarity
from vlfusion_jax.ops.losses import (
    cross_entropy,
    kl_divergence,
    smooth_l1,
    soft_cross_entropy,
    sparse_binary_cross_entropy,
    sparse_soft_cross_entropy,
    squared_error,
)

ROWS, CLASSES, PADDED, LISTED = 6, 11, 16, 3


@pytest.fixture(scope="module")
def logits():
    return (4 * np.random.default_rng(1).normal(size=(ROWS, CLASSES))).astype(np.float32)


@pytest.fixture(scope="module")
def listed():
    """Distinct answer ids and their scores per row; row 2 has none, row 3 one hard label."""
    rng = np.random.default_rng(2)
    ids = np.stack([rng.permutation(CLASSES)[:LISTED] for _ in range(ROWS)]).astype(np.int32)
    scores = rng.random((ROWS, LISTED)).astype(np.float32)
    scores[2] = 0
    scores[3] = [1, 0, 0]
    return ids, scores


def dense(ids, scores):
    targets = np.zeros((ROWS, CLASSES), np.float32)
    np.put_along_axis(targets, ids, scores, axis=1)
    return targets


def pad(logits):
    return np.pad(logits, ((0, 0), (0, PADDED - CLASSES)), constant_values=MASKED_SCORE)


def check(function, logits, expected_function):
    """Values, and gradients under random row weights, of ours at padded and at bare logits equal PyTorch's."""
    weights = np.random.default_rng(3).normal(size=ROWS).astype(np.float32)
    theirs = torch.tensor(logits, requires_grad=True)
    expected = expected_function(theirs)
    expected.backward(torch.tensor(weights))
    for given in (logits, pad(logits)):
        value = function(given)
        assert value.shape == (ROWS,)
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, expected.detach(), atol=1e-5, rtol=1e-6)
        grad = jax.grad(lambda x: (function(x) * weights).sum())(jnp.asarray(given))
        np.testing.assert_allclose(grad[:, :CLASSES], theirs.grad, atol=1e-6)
        assert not np.asarray(grad[:, CLASSES:]).any()


def test_cross_entropy(logits):
    labels = np.random.default_rng(4).integers(CLASSES, size=ROWS)
    check(
        lambda x: cross_entropy(x, labels),
        logits,
        lambda x: functional.cross_entropy(x, torch.tensor(labels), reduction="none"),
    )


def test_cross_entropy_of_any_leading_shape(logits):
    labels = np.random.default_rng(5).integers(CLASSES, size=(2, 3))
    shaped = cross_entropy(logits.reshape(2, 3, CLASSES), labels)
    assert shaped.shape == (2, 3)
    np.testing.assert_allclose(shaped.reshape(-1), cross_entropy(logits, labels.reshape(-1)), atol=1e-6)


def test_sparse_soft_cross_entropy(logits, listed):
    targets = dense(*listed)
    targets /= np.maximum(targets.sum(1, keepdims=True), 1e-9)
    check(
        lambda x: sparse_soft_cross_entropy(x, *listed),
        logits,
        lambda x: functional.cross_entropy(x, torch.tensor(targets), reduction="none"),
    )


def test_binary_cross_entropy(logits, listed):
    targets = torch.tensor(dense(*listed))
    check(
        lambda x: sparse_binary_cross_entropy(x, *listed, jnp.arange(x.shape[1]) < CLASSES),
        logits,
        lambda x: functional.binary_cross_entropy_with_logits(x, targets, reduction="none").sum(1),
    )


def test_binary_cross_entropy_leaves_out_classes_that_do_not_exist(logits, listed):
    junk = np.pad(logits, ((0, 0), (0, PADDED - CLASSES)), constant_values=7.0)
    valid = np.arange(PADDED) < CLASSES

    def total(x):
        return sparse_binary_cross_entropy(x, *listed, valid).sum()

    bare = sparse_binary_cross_entropy(logits, *listed, np.ones(CLASSES)).sum()
    np.testing.assert_allclose(total(jnp.asarray(junk)), bare, rtol=1e-6)
    assert not np.asarray(jax.grad(total)(jnp.asarray(junk))[:, CLASSES:]).any()


def test_bf16_logits_are_summed_in_f32(logits, listed):
    low = jnp.asarray(logits, jnp.bfloat16)
    same = np.asarray(low, np.float32)
    valid = np.ones(CLASSES)
    labels = listed[0][:, 0]
    np.testing.assert_array_equal(cross_entropy(low, labels), cross_entropy(same, labels))
    np.testing.assert_array_equal(sparse_soft_cross_entropy(low, *listed), sparse_soft_cross_entropy(same, *listed))
    ours = sparse_binary_cross_entropy(low, *listed, valid)
    np.testing.assert_array_equal(ours, sparse_binary_cross_entropy(same, *listed, valid))


@pytest.fixture(scope="module")
def targets():
    """A distribution in each row; classes that have no share among them, and a row that is sure of one."""
    shares = np.random.default_rng(6).random((ROWS, CLASSES)).astype(np.float32)
    shares[shares < 0.3] = 0
    shares[3] = np.arange(CLASSES) == 4
    return shares / shares.sum(1, keepdims=True)


def as_wide(targets, logits):
    return np.pad(targets, ((0, 0), (0, logits.shape[1] - CLASSES)))


def test_soft_cross_entropy_of_dense_targets(logits, targets):
    check(
        lambda x: soft_cross_entropy(x, as_wide(targets, x)),
        logits,
        lambda x: functional.cross_entropy(x, torch.tensor(targets), reduction="none"),
    )


def test_kl_divergence(logits, targets):
    check(
        lambda x: kl_divergence(x, as_wide(targets, x)),
        logits,
        lambda x: functional.kl_div(functional.log_softmax(x, 1), torch.tensor(targets), reduction="none").sum(1),
    )
    log_probs = jax.nn.log_softmax(jnp.asarray(logits))
    np.testing.assert_allclose(kl_divergence(log_probs, targets), kl_divergence(logits, targets), atol=1e-5)


def test_a_distribution_is_no_way_from_itself(targets):
    np.testing.assert_allclose(kl_divergence(np.log(np.maximum(targets, 1e-30)), targets), 0, atol=1e-6)


OF_VECTORS = {
    "squared_error": (squared_error, lambda x, y: functional.mse_loss(x, y, reduction="none").mean(-1)),
    "smooth_l1": (smooth_l1, lambda x, y: functional.smooth_l1_loss(x, y, reduction="none").mean(-1)),
    "smooth_l1 from 0.3": (
        lambda x, y: smooth_l1(x, y, 0.3),
        lambda x, y: functional.smooth_l1_loss(x, y, reduction="none", beta=0.3).mean(-1),
    ),
    "cosine_similarity": (cosine_similarity, lambda x, y: functional.cosine_similarity(x, y, dim=-1)),
}


@pytest.mark.parametrize("name", OF_VECTORS)
def test_losses_of_vectors(name):
    ours, theirs = OF_VECTORS[name]
    rng = np.random.default_rng(7)
    x, y = (rng.normal(size=(2, ROWS, 5)).astype(np.float32) for _ in range(2))
    weights = rng.normal(size=(2, ROWS)).astype(np.float32)
    others = [torch.tensor(each, requires_grad=True) for each in (x, y)]
    expected = theirs(*others)
    expected.backward(torch.tensor(weights))
    value = ours(x, y)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, expected.detach(), atol=1e-6)
    for grad, other in zip(jax.grad(lambda *xy: (ours(*xy) * weights).sum(), (0, 1))(x, y), others, strict=True):
        np.testing.assert_allclose(grad, other.grad, atol=1e-6)
    low = [jnp.asarray(each, jnp.bfloat16) for each in (x, y)]
    np.testing.assert_array_equal(ours(*low), ours(*(np.asarray(each, np.float32) for each in low)))


def test_cosine_of_a_zero_vector():
    value, grad = jax.value_and_grad(cosine_similarity)(jnp.zeros(3), jnp.ones(3))
    assert value == 0
    assert np.isfinite(grad).all()
