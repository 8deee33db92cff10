"""A checksum per array of a sharded tree, computed on the devices, the same on every mesh.

Storage layers return a flipped byte without a word. Each array is read as unsigned 32-bit words; the checksum is the
sum of word · (2 · position + 1) modulo 2³². An odd factor is invertible, so any change of a single word shows, and
integer addition does not care how the array was split.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from vlfusion_jax.core.compiler import SUMS, compiler_options
from vlfusion_jax.core.tree import flatten

_PART_BYTES = 256 << 20
_WORDS = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}


def _checksum(x: jax.Array) -> jax.Array:
    if x.dtype == jnp.bool_:
        x = x.astype(jnp.uint8)
    words = jax.lax.bitcast_convert_type(x, _WORDS[x.dtype.itemsize]).astype(jnp.uint32)
    position = jnp.zeros(x.shape, jnp.uint32)
    for dim in range(x.ndim):
        position = position * jnp.uint32(x.shape[dim]) + jax.lax.broadcasted_iota(jnp.uint32, x.shape, dim)
    return jnp.sum(words * (2 * position + 1), dtype=jnp.uint32)


@cache
def _program() -> Callable[[list[jax.Array]], list[jax.Array]]:
    """Of leaves, compiled when the devices are known."""
    return jax.jit(lambda leaves: [_checksum(leaf) for leaf in leaves], compiler_options=compiler_options(SUMS))


def checksums(tree: Any) -> dict[str, int]:
    """Checksum of every leaf by its path name.

    Large trees are computed in parts, for not every platform sums without a copy; one part after the other, for
    programs that run on several devices at the same time may wait for each other for ever.

    Args:
      tree: arrays of at most 32 bits per element, on the devices of one mesh.
    """
    sums: dict[str, int] = {}
    for part in _parts(flatten(tree)):
        values = jax.device_get(_program()(list(part.values())))
        sums |= {name: int(value) for name, value in zip(part, values, strict=True)}
    return sums


def _parts(leaves: dict[str, jax.Array]) -> Iterator[dict[str, jax.Array]]:
    """The leaves in order, in parts of at most `_PART_BYTES` or of one leaf."""
    part: dict[str, jax.Array] = {}
    for name, leaf in leaves.items():
        if part and sum(each.nbytes for each in part.values()) + leaf.nbytes > _PART_BYTES:
            yield part
            part = {}
        part[name] = leaf
    if part:
        yield part
