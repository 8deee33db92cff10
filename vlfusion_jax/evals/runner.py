"""Metrics over a whole split: sums and weights of all batches, divided once at the end."""

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np

from vlfusion_jax.data.global_array import to_global


def evaluate(run: Any, params: Any, batches: Iterable[dict[str, np.ndarray]]) -> dict[str, float]:
    """Weighted means of the metrics of `run.eval_step`; a metric without any weight is left out.

    Args:
      run: see `train.setup.Run`.
      params: sharded parameters.
      batches: this host's part of every batch; every host has the same number of them.
    """
    totals: dict[str, np.ndarray] = {}
    waiting = None
    for batch in batches:
        # The device computes this batch while the host adds up the one before.
        started = run.eval_step(params, to_global(batch, run.batch_sharding))
        _add(totals, waiting)
        waiting = started
    _add(totals, waiting)
    return {name: float(total / weight) for name, (total, weight) in totals.items() if weight > 0}


def _add(totals: dict[str, np.ndarray], sums: dict[str, tuple[jax.Array, jax.Array]] | None) -> None:
    for name, pair in jax.device_get(sums or {}).items():
        totals[name] = totals.get(name, np.zeros(2)) + np.asarray(pair, np.float64)
