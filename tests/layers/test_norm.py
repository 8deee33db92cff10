"""Layer normalisation against PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from vlfusion_jax.layers.norm import LayerNorm
from vlfusion_jax.ops.norm import layer_norm


@pytest.mark.parametrize("epsilon", [1e-12, 1e-6, 1e-2])
def test_equals_torch(random_params, to_norm, epsilon):
    rng = np.random.default_rng(0)
    x, grad = (rng.normal(size=(4, 3, 10)).astype(np.float32) for _ in range(2))
    x += 2
    module = LayerNorm(epsilon)
    params = random_params(module, x)
    theirs = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    norm = to_norm(params, epsilon).double()
    expected = norm(theirs)
    expected.backward(torch.tensor(grad))
    value, pullback = jax.vjp(lambda p, x: module.apply({"params": p}, x), params, x)
    of_params, of_x = pullback(grad)
    np.testing.assert_allclose(value, expected.detach(), atol=1e-6)
    np.testing.assert_allclose(of_x, theirs.grad, atol=1e-6)
    np.testing.assert_allclose(of_params["scale"], norm.weight.grad, atol=1e-5)
    np.testing.assert_allclose(of_params["bias"], norm.bias.grad, atol=1e-5)


def test_statistics_are_f32_where_the_dtype_is_bf16(random_params):
    x = (np.random.default_rng(1).normal(size=(4, 200)) + 100).astype(jnp.bfloat16)
    module = LayerNorm(1e-6, dtype=jnp.bfloat16)
    params = random_params(module, x)
    exact = LayerNorm(1e-6).apply({"params": params}, x.astype(np.float32))
    np.testing.assert_array_equal(module.apply({"params": params}, x), exact.astype(jnp.bfloat16))


def test_rows_that_hardly_differ_or_stand_out():
    near = np.full((6, 768), 3.0)
    near[0, 5], near[1, :5], near[2, 0] = 3.015625, 3.015625, 3.015625
    far = np.random.default_rng(3).normal(size=(4, 768))
    far[0, 0], far[1, 7], far[2, 0] = 1e3, 1e3, -3e4
    for rows in (near, 100 * near, far):
        x = rows.astype(np.float32).astype(jnp.bfloat16)
        np.testing.assert_allclose(_ours(x, 1e-12), _norm(x, 1e-12), atol=1e-3, rtol=1e-4)


def _ours(x, epsilon):
    ones, zeros = jnp.ones(x.shape[-1]), jnp.zeros(x.shape[-1])
    return np.asarray(layer_norm(x, ones, zeros, epsilon, jnp.float32))


def _norm(x, epsilon):
    x = x.astype(np.float64)
    return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + epsilon)
