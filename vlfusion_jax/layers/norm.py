"""Layer normalisation."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.core.partitioned import with_axes
from vlfusion_jax.ops.norm import layer_norm


class LayerNorm(nn.Module):
    """Layer normalisation over the last dim (Ba et al. 2016), statistics in f32.

    Attributes:
      epsilon: added to the variance: 1e-6 (ViT), 1e-12 (BERT).
      dtype: dtype of the result.
      axis: logical axis of the normalised dim.
    """

    epsilon: float
    dtype: Any = jnp.float32
    axis: str = names.EMBED

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size = (x.shape[-1],)
        scale = self.param("scale", with_axes(nn.initializers.ones_init(), self.axis), size, jnp.float32)
        bias = self.param("bias", with_axes(nn.initializers.zeros_init(), self.axis), size, jnp.float32)
        return layer_norm(x, scale, bias, self.epsilon, self.dtype)
