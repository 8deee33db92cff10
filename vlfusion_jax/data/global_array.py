"""Rows of this host to arrays over all devices of all hosts."""

import jax
import numpy as np
from jax.sharding import NamedSharding


def local_rows(sharding: NamedSharding, rows: int) -> np.ndarray:
    """Which of `rows` global rows the devices of this host hold, ascending: [n] int.

    Hosts whose devices hold copies of the same rows, as a tensor axis across hosts makes them, get the same numbers.
    `sharding` splits the leading axis only, and its parts divide `rows`.
    """
    return np.concatenate([np.arange(start, stop) for start, stop in _pieces(sharding, rows)])


def to_global(batch: dict[str, np.ndarray], sharding: NamedSharding) -> dict[str, jax.Array]:
    """Put the hosts' rows, as `local_rows` names them, together as global arrays [rows, …] laid out by `sharding`.

    An array may have several rows for each row of the batch, such as the questions of an image: they lie together.
    """
    parts = sharding.mesh.size // sharding.shard_shape((sharding.mesh.size,))[0]
    held = len(_pieces(sharding, parts))

    def assemble(local: np.ndarray) -> jax.Array:
        rows = len(local) // held * parts
        places = {start: place * (rows // parts) for place, (start, _) in enumerate(_pieces(sharding, rows))}

        def piece(index: tuple[slice, ...]) -> np.ndarray:
            start = places[index[0].indices(rows)[0]]
            return local[start : start + rows // parts]

        return jax.make_array_from_callback((rows, *local.shape[1:]), sharding, piece)

    return {key: assemble(array) for key, array in batch.items()}


def _pieces(sharding: NamedSharding, rows: int) -> list[tuple[int, int]]:
    """(start, stop) of the parts of `rows` on this host, ascending, each once."""
    indices = sharding.addressable_devices_indices_map((rows,)).values()
    return sorted({index[0].indices(rows)[:2] for index in indices})
