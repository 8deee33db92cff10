"""Parameters gathered, and their gradients summed, by devices of which each has some rows of a batch.

A sum over rows is made of a device's own first, then once over the devices, into the parts that each keeps. Left to the
partitioner it is summed whole and cut into parts later, and a parameter that is used twice has two such sums.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import Mesh, PartitionSpec

from vlfusion_jax.core import names
from vlfusion_jax.parallel.mesh import lines
from vlfusion_jax.parallel.strategy import Strategy, active_strategy

Function = Callable[..., jax.Array]


def over_devices(*logical: str) -> Callable[[Function], Function]:
    """What makes of a function of two arrays, a sum over their rows (first dims), one that sums device by device.

    Its result has dims `logical`, and is laid out as the gradient of a parameter. The strategy is the one active now.
    """
    strategy = active_strategy()
    if strategy is None or not _splits_rows_alone(strategy):
        return lambda function: function
    of_gradients, rows = strategy.of_optimizer(), PartitionSpec(_axes_of_rows(strategy))

    def wrap(function: Function) -> Function:
        def own_rows_first(x: jax.Array, y: jax.Array) -> jax.Array:
            if len(x) % strategy.batch_parts:
                return function(x, y)
            return _by_device(
                strategy,
                lambda x, y: _sum_of_devices(function(x, y), of_gradients, logical),
                (rows, rows),
                _spec(of_gradients, logical),
            )(x, y)

        return own_rows_first

    return wrap


def gathered(*logical: str) -> Function:
    """What makes a parameter whole on all devices that split rows; its dims are `logical`.

    It is not derived: the gradient of the parameter is that of its parts, see `over_devices`.
    """
    strategy = active_strategy()
    if strategy is None or not _splits_rows_alone(strategy) or not any(_split(strategy, logical)):
        return lambda parameter: parameter
    return _by_device(
        strategy, lambda part: _gather_parts(part, strategy, logical), (_spec(strategy, logical),), PartitionSpec()
    )


def own_copies(parameter: jax.Array, *logical: str) -> jax.Array:
    """`parameter` [dims...] as [copies, dims...], of which every device of the batch's axes has one.

    Its gradient is summed over the devices once, however often it is used; see `with_own_copy`. One copy for all where
    no strategy splits rows, or one that splits more.
    """
    strategy = active_strategy()
    if strategy is None or not _splits_rows_alone(strategy):
        return parameter[None]
    return _copies(strategy, logical, parameter)


def with_own_copy(function: Function) -> Function:
    """Function (copies, rows) → the rows of `function(parameter, rows)`, where each device reads its own copy."""

    def apply(copies: jax.Array, x: jax.Array) -> jax.Array:
        strategy = active_strategy()
        if strategy is None or len(copies) == 1 or len(x) % len(copies):
            return function(copies[0], x)
        rows = PartitionSpec(_axes_of_rows(strategy))
        return _by_device(strategy, lambda own, x: function(own[0], x), (rows, rows), rows)(copies, x)

    return apply


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _copies(strategy: Strategy, logical: tuple[str, ...], parameter: jax.Array) -> jax.Array:
    rows = PartitionSpec(_axes_of_rows(strategy))
    return _by_device(
        strategy, lambda part: _gather_parts(part, strategy, logical)[None], (_spec(strategy, logical),), rows
    )(parameter)


def _copies_forward(strategy: Strategy, logical: tuple[str, ...], parameter: jax.Array) -> tuple[jax.Array, None]:
    return _copies(strategy, logical, parameter), None


def _copies_backward(strategy: Strategy, logical: tuple[str, ...], saved: None, grad: jax.Array) -> tuple[jax.Array]:
    del saved
    of_gradients = strategy.of_optimizer()
    return (
        _by_device(
            strategy,
            lambda own: _sum_of_devices(own[0], of_gradients, logical),
            (PartitionSpec(_axes_of_rows(strategy)),),
            _spec(of_gradients, logical),
        )(grad),
    )


_copies.defvjp(_copies_forward, _copies_backward)


def _axes_of_rows(strategy: Strategy) -> tuple[str, ...]:
    """Mesh axes that split rows."""
    return strategy.axes_of(names.BATCH)


def _splits_rows_alone(strategy: Strategy) -> bool:
    """Whether it does, over all devices. What heads or hidden units are split over too, the partitioner does better."""
    return strategy.mesh.size == strategy.batch_parts > 1


def _split(strategy: Strategy, logical: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The axes that split each dim."""
    return [strategy.axes_of(name) for name in logical]


def _spec(strategy: Strategy, logical: tuple[str, ...]) -> PartitionSpec:
    return PartitionSpec(*(axes or None for axes in _split(strategy, logical)))


def _sum_of_devices(own: jax.Array, strategy: Strategy, logical: tuple[str, ...]) -> jax.Array:
    """Within `_by_device`: the sum of what the devices have, of which each gets the part that is its own."""
    left, dtype = list(_axes_of_rows(strategy)), own.dtype
    if strategy.mesh.devices.flat[0].platform == "cpu":
        own = own.astype(jnp.promote_types(dtype, jnp.float32))  # XLA:CPU ends where 16 bits are summed like this
    for dim, axes in enumerate(_split(strategy, logical)):
        for axis in axes:
            for groups in _groups_of_lines(strategy.mesh, axis):
                scatter = partial(jax.lax.psum_scatter, axis_name=axis, axis_index_groups=groups, tiled=True)
                own = _along(lambda x, dim, scatter=scatter: scatter(x, scatter_dimension=dim), own, dim, strategy)
            left.remove(axis)
    return (jax.lax.psum(own, left) if left else own).astype(dtype)


def _gather_parts(part: jax.Array, strategy: Strategy, logical: tuple[str, ...]) -> jax.Array:
    """Within `_by_device`: the whole of what each device has a part of."""
    for dim, axes in enumerate(_split(strategy, logical)):
        for axis in reversed(axes):
            for groups in reversed(_groups_of_lines(strategy.mesh, axis)):
                gather = partial(jax.lax.all_gather, axis_name=axis, axis_index_groups=groups, tiled=True)
                part = _along(lambda x, dim, gather=gather: gather(x, axis=dim), part, dim, strategy)
    return part


def _along(exchange: Callable, x: jax.Array, dim: int, strategy: Strategy) -> jax.Array:
    """`exchange(x, dim)`, which changes the size of that dim alone.

    libtpu exchanges parts along the dim that changes slowest in memory; along another it sums whole arrays, and cuts
    them.
    """
    if strategy.mesh.devices.flat[0].platform != "tpu" or 0 < dim < x.ndim - 1:
        return exchange(x, dim)
    matrix = x.reshape(-1, x.shape[-1]) if dim else x.reshape(len(x), -1)
    order = (1, 0) if dim else (0, 1)
    changed = exchange(with_layout_constraint(matrix, Layout(major_to_minor=order)), order[0])
    return changed.reshape(*x.shape[:dim], -1, *x.shape[dim + 1 :])


def _groups_of_lines(mesh: Mesh, axis: str) -> list[list[list[int]] | None]:
    """Groups of a mesh axis that exchange parts one after the other: along each dim of a TPU's torus.

    Along more than one dim at a time libtpu sums whole arrays, which sends twice as much.
    """
    sizes = lines(mesh, axis)
    if len(sizes) == 1:
        return [None]
    places = np.arange(mesh.shape[axis]).reshape(sizes)
    return [np.moveaxis(places, dim, -1).reshape(-1, size).tolist() for dim, size in enumerate(sizes)]


def _by_device(
    strategy: Strategy, function: Callable, inputs: tuple[PartitionSpec, ...], output: PartitionSpec
) -> Callable:
    """`function` of what a device has."""
    return jax.shard_map(function, mesh=strategy.mesh, in_specs=inputs, out_specs=output, check_vma=False)
