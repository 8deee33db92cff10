"""The position-wise feed-forward part of a Transformer layer."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vlfusion_jax.core import names
from vlfusion_jax.layers.projection import Projection
from vlfusion_jax.ops.activations import ACTIVATIONS
from vlfusion_jax.parallel.strategy import constrain


class Mlp(nn.Module):
    """Two projections with an activation between them (Vaswani et al. 2017, section 3.3)."""

    hidden: int
    activation: str = "gelu"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_btd: jax.Array) -> jax.Array:
        width = x_btd.shape[-1]
        hidden = Projection(
            "btd,df->btf", (width, self.hidden), (names.EMBED, names.MLP),
            (self.hidden,), (names.MLP_BIAS,), dtype=self.dtype, name="expand",
        )(x_btd)  # fmt: skip
        hidden = checkpoint_name(constrain(hidden, names.BATCH, names.SEQUENCE, names.MLP), names.EXPANDED)
        return Projection(
            "btf,fd->btd", (self.hidden, width), (names.MLP, names.EMBED),
            (width,), (names.EMBED,), dtype=self.dtype, name="contract",
        )(ACTIVATIONS[self.activation](hidden))  # fmt: skip
