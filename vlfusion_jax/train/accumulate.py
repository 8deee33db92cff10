"""Gradients of a big batch, computed in parts."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vlfusion_jax.tasks.task import Batch

GradFunction = Callable[..., tuple[tuple[jax.Array, Any], Any]]


def split_batch(batch: Batch, parts: int, records: int) -> Batch:
    """Adds a leading dim of `parts` to every entry: record i goes to part i % parts, with all its images and texts.

    Strided rather than cut in blocks: each device's rows then stay on it, whatever the number of parts.

    Args:
      batch: entries of `records` rows or a multiple of it.
      parts: divides `records`.
      records: images in the batch, or pairs of them.
    """

    def split(x: jax.Array) -> jax.Array:
        each = x.shape[0] // records
        grouped = x.reshape(records // parts, parts, each, *x.shape[1:])
        return jnp.swapaxes(grouped, 0, 1).reshape(parts, x.shape[0] // parts, *x.shape[1:])

    return {name: split(x) for name, x in batch.items()}


def by_parts(
    function: Callable[[jax.Array, Batch], dict[str, jax.Array]], batch: Batch, parts: int, records: int
) -> dict[str, jax.Array]:
    """What `function` gives for the whole batch, computed part by part: its rows joined, its scalars of any part.

    Args:
      function: (number of the part, part of the batch) → arrays with a row for each record, or scalars.
      batch, parts, records: as of `split_batch`.
    """
    if parts == 1:
        return function(jnp.int32(0), batch)
    micro = split_batch(batch, parts, records)
    _, found = jax.lax.scan(lambda _, inputs: (None, function(*inputs)), None, (jnp.arange(parts), micro))
    # Row i of the batch is row i // parts of part i % parts.
    rows = {name: jnp.swapaxes(x, 0, 1).reshape(-1, *x.shape[2:]) for name, x in found.items() if x.ndim > 1}
    return rows | {name: x[0] for name, x in found.items() if x.ndim == 1}


def accumulate(grad_function: GradFunction, parts: int, records: int) -> GradFunction:
    """Wraps `grad_function(params, batch, scales, rng) → ((value, sums), grads)` to sum over `parts` parts.

    Value, sums and gradients are sums over items, scaled by weights of the whole batch: they add up to the big
    batch's, whatever the masks.
    """
    if parts == 1:
        return grad_function

    def accumulated(params: Any, batch: Batch, scales: Any, rng: jax.Array) -> tuple[tuple[jax.Array, Any], Any]:
        micro = split_batch(batch, parts, records)

        def part(total: Any, inputs: tuple[jax.Array, Batch]) -> tuple[Any, None]:
            i, part_batch = inputs
            result = grad_function(params, part_batch, scales, jax.random.fold_in(rng, i))
            return jax.tree.map(jnp.add, total, result), None

        one = {name: x[0] for name, x in micro.items()}
        shapes = jax.eval_shape(grad_function, params, one, scales, rng)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        total, _ = jax.lax.scan(part, zeros, (jnp.arange(parts), micro))
        return total

    return accumulated
