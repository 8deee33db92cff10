"""Layer normalisation as a function of arrays."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from vlfusion_jax.core import names


@partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, dtype: Any) -> jax.Array:
    """Layer normalisation over the last dim (Ba et al. 2016, eq. 4), statistics in f32.

    The backward pass reads `x` and two numbers of each row, which have a name for recomputation; derived line by line
    it goes over arrays of the size of `x` more often.

    Args:
      x: [..., d].
      scale, bias: [d] f32.
      epsilon: added to the variance.
      dtype: of the result.
    """
    return _forward(x, scale, bias, epsilon, dtype)[0]


def _forward(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, dtype: Any
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    wide = x.astype(jnp.float32)
    mean = wide.mean(-1, keepdims=True)
    variance = jnp.square(wide - mean).mean(-1, keepdims=True)
    mean, rate = (checkpoint_name(each, names.NORM) for each in (mean, jax.lax.rsqrt(variance + epsilon)))
    return ((wide - mean) * rate * scale + bias).astype(dtype), (x, scale, mean, rate)


def _backward(
    epsilon: float, dtype: Any, saved: tuple[jax.Array, ...], grad: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    del epsilon, dtype
    x, scale, mean, rate = saved
    grad, normed = grad.astype(jnp.float32), (x.astype(jnp.float32) - mean) * rate
    scaled, rows = grad * scale, tuple(range(x.ndim - 1))
    along = (scaled * normed).mean(-1, keepdims=True)
    of_x = rate * (scaled - scaled.mean(-1, keepdims=True) - normed * along)
    return of_x.astype(x.dtype), (grad * normed).sum(rows), grad.sum(rows)


layer_norm.defvjp(_forward, _backward)
