"""Linear maps written as einsum, their parameters labelled with logical axes."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core.partitioned import with_axes
from vlfusion_jax.ops.product import product
from vlfusion_jax.parallel.rows import gathered, over_devices


def fan_in_init(equation: str) -> nn.initializers.Initializer:
    """Truncated normal of variance 1 / (size of what is summed over): activations keep their scale at any width.

    BERT's fixed deviation of 0.02 does so only near width 768; narrower models hardly start to learn with it.
    """
    x, kernel = equation.split("->")[0].split(",")
    summed = [i for i, index in enumerate(kernel) if index in x]
    kept = [i for i, index in enumerate(kernel) if index not in x]
    return nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal", in_axis=summed, out_axis=kept)


class Projection(nn.Module):
    """`einsum(equation, x, kernel) + bias`.

    Attributes:
      equation: einsum of input and kernel, such as `btd,dhk->bthk`.
      shape: shape of the kernel.
      axes: logical axis of each kernel dim.
      bias_shape: shape of the bias, broadcast against the result; empty for none.
      bias_axes: logical axis of each bias dim.
      dtype: dtype of the computation; parameters are f32.
    """

    equation: str
    shape: Sequence[int]
    axes: Sequence[str]
    bias_shape: Sequence[int] = ()
    bias_axes: Sequence[str] = ()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", with_axes(fan_in_init(self.equation), *self.axes), tuple(self.shape), jnp.float32)
        y = product(
            self.equation,
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            gathered(*self.axes),
            over_devices(*self.axes),
        )
        if self.bias_shape:
            zeros = with_axes(nn.initializers.zeros_init(), *self.bias_axes)
            bias = self.param("bias", zeros, tuple(self.bias_shape), jnp.float32)
            y = y + bias.astype(self.dtype)
        return y
