"""Activations and their slopes against PyTorch's."""

import jax
import numpy as np
import pytest
import torch

from vlfusion_jax.ops.activations import ACTIVATIONS

# As programs are compiled outside of these tests: without optimisation tanh is coarser near its ends.
USUAL = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False}


@pytest.mark.parametrize(("name", "approximate"), [("gelu", "none"), ("gelu_tanh", "tanh")])
def test_equals_torch(name, approximate):
    x = np.concatenate([np.linspace(-9, 9, 2001), [0, 1e-6, -40, 40]]).astype(np.float32)
    theirs = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.gelu(theirs, approximate=approximate)
    expected.sum().backward()
    np.testing.assert_allclose(ACTIVATIONS[name](x), expected.detach(), atol=1e-6, rtol=1e-6)
    # In f32, 1 - tanh² is cut off near x = -5, where its factor is still above 10.
    slopes = jax.jit(jax.vmap(jax.grad(ACTIVATIONS[name])), compiler_options=USUAL)
    np.testing.assert_allclose(slopes(x), theirs.grad, atol=5e-6)


def test_the_forms_differ():
    assert abs(ACTIVATIONS["gelu"](2.5) - ACTIVATIONS["gelu_tanh"](2.5)) > 2e-4
