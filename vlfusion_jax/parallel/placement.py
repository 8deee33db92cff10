"""Shardings of whole trees: parameters by their axis names, optimizer state by the parameter it belongs to."""

from typing import Any

import jax
from jax.sharding import NamedSharding

from vlfusion_jax.core.partitioned import LogicalAxes, is_boxed
from vlfusion_jax.core.tree import flatten, path_name
from vlfusion_jax.parallel.strategy import Strategy


def param_shardings(boxed_params: Any, strategy: Strategy) -> Any:
    """Tree of `NamedSharding` for abstract parameters that still carry their axis names.

    Raises:
      UserError: naming the parameter, see `Strategy.sharding`.
    """

    def place(path: tuple, leaf: LogicalAxes) -> NamedSharding:
        name = path_name(path)
        return strategy.of_part(name).sharding(leaf.names, leaf.value.shape, f"parameter {name}")

    return jax.tree_util.tree_map_with_path(place, boxed_params, is_leaf=is_boxed)


def state_shardings(abstract: Any, shardings: Any, strategy: Strategy) -> Any:
    """Shardings of a tree, such as optimizer moments, whose leaves' paths end in a parameter's path.

    Args:
      abstract: tree of shapes.
      shardings: the parameters' shardings.
      strategy: whose replicated sharding everything else, such as step counts, gets.
    """
    by_path = flatten(shardings)

    def place(path: tuple, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        for start in range(len(path)):
            found = by_path.get(path_name(path[start:]))
            if found is not None:
                return found
        if leaf.ndim:
            raise ValueError(f"no parameter belongs to the optimizer state {path_name(path)} of shape {leaf.shape}")
        return strategy.replicated

    return jax.tree_util.tree_map_with_path(place, abstract)


def with_shardings(abstract: Any, shardings: Any) -> Any:
    """Shapes that carry their shardings, as restoring and compiling ahead of time need them."""
    return jax.tree.map(lambda leaf, s: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s), abstract, shardings)
