"""Dropout as a function of arrays."""

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from vlfusion_jax.core import names


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zeroes a random share `rate` of `x` and divides the rest by 1 - rate (Srivastava et al. 2014).

    What was kept carries the name `names.DROPOUT` for recomputation: a byte a value in memory costs less than drawing
    again. Without a key, or at rate 0, `x` comes back as it is.
    """
    if key is None or not rate:
        return x
    kept = checkpoint_name(jax.random.bernoulli(key, 1 - rate, x.shape), names.DROPOUT)
    return jnp.where(kept, x / (1 - rate), 0)
