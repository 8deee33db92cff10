"""Layer normalisation against PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from vlfusion_jax.layers.norm import LayerNorm


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
