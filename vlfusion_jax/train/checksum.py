"""A checksum per array of a sharded tree, computed on the devices, the same on every mesh.

Storage layers return a flipped byte without a word. Each array is read as unsigned 32-bit words; the checksum is the
sum of word · (2 · position + 1) modulo 2³². An odd factor is invertible, so any change of a single word shows, and
integer addition does not care how the array was split.
"""

from typing import Any

import jax
import jax.numpy as jnp

from vlfusion_jax.core.tree import flatten

_WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}


@jax.jit
def _checksum(x: jax.Array) -> jax.Array:
    if x.dtype == jnp.bool_:
        x = x.astype(jnp.uint8)
    words = jax.lax.bitcast_convert_type(x, _WORDS[x.dtype.itemsize]).astype(jnp.uint32)
    position = jnp.zeros(x.shape, jnp.uint32)
    for dim in range(x.ndim):
        position = position * jnp.uint32(x.shape[dim]) + jax.lax.broadcasted_iota(jnp.uint32, x.shape, dim)
    return jnp.sum(words * (2 * position + 1), dtype=jnp.uint32)


def checksums(tree: Any) -> dict[str, int]:
    """Checksum of every leaf by its path name.

    Args:
      tree: arrays of at most 32 bits per element, on the devices of one mesh.
    """
    # One after the other: programs of several devices that run at the same time may wait for each other for ever, and
    # all leaves in one program would take as much memory again as the tree.
    return {name: int(_checksum(leaf)) for name, leaf in flatten(tree).items()}
