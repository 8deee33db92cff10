"""Random numbers as pure functions of (seed, stream, indices): nothing to save, nothing to lose.

A stream's number is the CRC-32 of its name, so adding a stream never shifts another.
"""

import zlib

import jax
import numpy as np


def number(name: str) -> int:
    """What a name is folded in as."""
    return zlib.crc32(name.encode())


def key(seed: int, stream: str, step: int | jax.Array = 0) -> jax.Array:
    """Typed JAX key of `stream` at `step` (which may be traced)."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), number(stream)), step)


def numpy_rng(seed: int, stream: str, *indices: int) -> np.random.Generator:
    """NumPy generator of `stream` at the given non-negative indices, for the host side."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, number(stream), *indices])))
