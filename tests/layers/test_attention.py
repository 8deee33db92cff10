"""The attention module: keys that several rows of queries share."""

import jax
import numpy as np
import pytest
import torch

from vlfusion_jax.layers.attention import Attention

ROWS, SHARED, QUERIES, KEYS, WIDTH, HEADS = 2, 3, 4, 5, 12, 3


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(ROWS * SHARED, QUERIES, WIDTH)).astype(np.float32)
    keys = rng.normal(size=(ROWS, KEYS, WIDTH)).astype(np.float32)
    mask = (rng.random((ROWS, KEYS)) > 0.4).astype(np.int32)
    mask[:, 0] = 1
    return queries, keys, mask


def test_shared_keys_equal_repeated_keys(random_params, inputs):
    queries, keys, mask = inputs
    module = Attention(HEADS, capture=True)
    params = random_params(module, queries, keys, mask)
    grad = np.random.default_rng(1).normal(size=queries.shape).astype(np.float32)

    def shared(params, queries, keys):
        output, weights = module.apply({"params": params}, queries, keys, mask)
        return (output * grad).sum(), (output, weights)

    def repeated(params, queries, keys):
        output, weights = module.apply(
            {"params": params}, queries, keys.repeat(SHARED, axis=0), mask.repeat(SHARED, axis=0)
        )
        return (output * grad).sum(), (output, weights)

    results = [
        jax.jit(jax.value_and_grad(f, (0, 1, 2), has_aux=True))(params, queries, jax.numpy.asarray(keys))
        for f in (shared, repeated)
    ]
    ((_, (output, weights)), grads), ((_, (expected, expected_weights)), expected_grads) = results
    assert weights.shape == (ROWS * SHARED, HEADS, QUERIES, KEYS)
    np.testing.assert_allclose(weights, expected_weights, atol=1e-6)
    np.testing.assert_allclose(output, expected, atol=2e-6)
    for ours, theirs in zip(jax.tree.leaves(grads), jax.tree.leaves(expected_grads), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_equals_torch_weights_included(random_params, to_attention, inputs):
    queries, keys, mask = inputs
    module = Attention(HEADS, capture=True)
    params = random_params(module, queries, keys, mask)
    output, weights = module.apply({"params": params}, queries, keys, mask)
    context = torch.tensor(keys).repeat_interleave(SHARED, 0)
    hidden = torch.tensor(mask).repeat_interleave(SHARED, 0) == 0
    expected, expected_weights = to_attention(params)(
        torch.tensor(queries), context, context, key_padding_mask=hidden, average_attn_weights=False
    )
    np.testing.assert_allclose(output, expected.detach(), atol=5e-6)
    np.testing.assert_allclose(weights, expected_weights.detach(), atol=2e-6)
