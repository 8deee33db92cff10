"""Dropout as a module, which draws its key from the stream `names.DROPOUT`."""

import jax
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.ops.dropout import dropout


class Dropout(nn.Module):
    """Dropout of share `rate`, where `train`."""

    rate: float
    train: bool

    def __call__(self, x: jax.Array) -> jax.Array:
        """`x` of any shape."""
        return dropout(x, self.rate, self.make_rng(names.DROPOUT) if self.train and self.rate else None)
