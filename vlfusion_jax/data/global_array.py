"""Rows of this host to arrays over all devices of all hosts."""

import jax
import numpy as np
from jax.sharding import NamedSharding


def to_global(batch: dict[str, np.ndarray], sharding: NamedSharding) -> dict[str, jax.Array]:
    """Put each host's block of rows, [rows / hosts, …], together as global arrays [rows, …] laid out by `sharding`.

    `sharding` splits the leading axis only, hosts in order of their process number.
    """
    return {key: jax.make_array_from_process_local_data(sharding, array) for key, array in batch.items()}
