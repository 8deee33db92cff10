"""Parameters filled with random numbers, and the way to carry them over into PyTorch's modules."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
import torch

from vlfusion_jax.core.partitioned import unbox


@pytest.fixture(scope="session")
def random_params() -> Callable[..., Any]:
    """Function (module, *inputs, scale=0.3) -> its parameters, all of them random: biases and norm scales too."""

    def make(module, *inputs, scale: float = 0.3):
        shapes = jax.eval_shape(lambda: unbox(module.init(jax.random.key(0), *inputs)["params"]))
        rng = np.random.default_rng(7)
        return jax.tree.map(lambda s: (scale * rng.normal(size=s.shape)).astype(s.dtype), shapes)

    return make


@pytest.fixture(scope="session")
def to_linear() -> Callable[[dict], torch.nn.Linear]:
    """Function projection parameters -> `Linear`; a kernel of more than two dims has its first as input."""

    def make(params: dict, inputs: int = 1) -> torch.nn.Linear:
        kernel = params["kernel"]
        kernel = kernel.reshape(int(np.prod(kernel.shape[:inputs])), -1)
        linear = torch.nn.Linear(*kernel.shape)
        _set(linear.weight, kernel.T)
        _set(linear.bias, params["bias"].reshape(-1))
        return linear

    return make


@pytest.fixture(scope="session")
def to_norm() -> Callable[[dict, float], torch.nn.LayerNorm]:
    """Function (norm parameters, epsilon) -> `LayerNorm`."""

    def make(params: dict, epsilon: float) -> torch.nn.LayerNorm:
        norm = torch.nn.LayerNorm(len(params["scale"]), eps=epsilon)
        _set(norm.weight, params["scale"])
        _set(norm.bias, params["bias"])
        return norm

    return make


@pytest.fixture(scope="session")
def to_attention(to_linear) -> Callable[[dict], torch.nn.MultiheadAttention]:
    """Function attention parameters -> `MultiheadAttention`."""

    def make(params: dict) -> torch.nn.MultiheadAttention:
        width, heads, _ = params["query"]["kernel"].shape
        attention = torch.nn.MultiheadAttention(width, heads, batch_first=True)
        inputs = [to_linear(params[name]) for name in ("query", "key", "value")]
        output = to_linear(params["output"], inputs=2)
        _set(attention.in_proj_weight, torch.cat([linear.weight for linear in inputs]).detach())
        _set(attention.in_proj_bias, torch.cat([linear.bias for linear in inputs]).detach())
        _set(attention.out_proj.weight, output.weight.detach())
        _set(attention.out_proj.bias, output.bias.detach())
        return attention

    return make


def _set(parameter: torch.nn.Parameter, value: Any) -> None:
    with torch.no_grad():
        parameter.copy_(torch.as_tensor(np.asarray(value)))
