"""Cosines of vectors, in f32."""

import jax
import jax.numpy as jnp


def unit_vectors(x: jax.Array, least: float) -> jax.Array:
    """[..., dim] of length one, f32; a vector shorter than `least` is divided by that, so a zero one stays zero."""
    x = x.astype(jnp.float32)
    # The root of a sum that is never 0 has a gradient everywhere.
    return x * jax.lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), least**2))


def cosine_similarity(x: jax.Array, y: jax.Array, least: float = 1e-8) -> jax.Array:
    """Cosine of the angle between vectors: [..., dim] twice → [...] f32 in [-1, 1]; 0 where one is zero.

    Vectors shorter than `least` count as of that length.
    """
    return (unit_vectors(x, least) * unit_vectors(y, least)).sum(-1)
