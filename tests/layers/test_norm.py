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


@pytest.mark.parametrize("mean", [0, 3, 30, 300])
def test_one_pass_loses_less_than_the_rounding_of_its_input(mean):
    drawn = np.random.default_rng(2).normal(size=(300, 768)) + mean
    x = drawn.astype(np.float32).astype(jnp.bfloat16)
    ones, zeros = jnp.ones(768), jnp.zeros(768)
    ours = np.asarray(layer_norm(x, ones, zeros, 1e-6, jnp.float32))
    rounded = _norm(x.astype(np.float64))
    lost = np.abs(ours - rounded).max(axis=1)
    by_rounding = np.abs(rounded - _norm(drawn)).max(axis=1)
    assert (lost < by_rounding / 10).all()


def _norm(x):
    return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-6)
