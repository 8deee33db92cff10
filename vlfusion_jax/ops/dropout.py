"""Dropout as functions of arrays."""

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from vlfusion_jax.core import names

_BITS = 16


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zeroes a random share `rate` of `x` and scales the rest so that means stay (Srivastava et al. 2014).

    The share is a multiple of 2^-16. Without a key, or at rate 0, `x` comes back as it is.
    """
    if key is None or not rate:
        return x
    return jnp.where(keep_mask(rate, key, x.shape), x / kept_share(rate), 0)


def keep_mask(rate: float, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Booleans of this shape, true for a random share `kept_share(rate)` of them.

    They carry the name `names.DROPOUT` for recomputation: a byte a value in memory costs less than drawing again. Two
    values share a random word, since drawing is what dropout costs.
    """
    *outer, last = shape
    words = jax.random.bits(key, (*outer, -(-last // 2)), jnp.uint32)
    halves = jnp.concatenate([words & (2**_BITS - 1), words >> _BITS], axis=-1)[..., :last]
    return checkpoint_name(halves >= _dropped_of(rate), names.DROPOUT)


def kept_share(rate: float) -> float:
    """Share that `keep_mask` keeps: 1 - rate, to 16 bits, for a rate above 0 and below 1."""
    return 1 - _dropped_of(rate) / 2**_BITS


def _dropped_of(rate: float) -> int:
    """How many of the 2^16 values of half a word are dropped: not none of them, nor all."""
    return min(max(round(rate * 2**_BITS), 1), 2**_BITS - 1)
