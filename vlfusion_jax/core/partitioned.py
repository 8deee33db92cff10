"""Logical axis names carried by parameters from where they are born to where they are sharded."""

from collections.abc import Callable
from typing import Any

import jax
from flax import struct
from flax.core import meta


class LogicalAxes(struct.PyTreeNode, meta.AxisMetadata):
    """A parameter together with the logical name of each of its dims.

    Unlike `flax.linen.LogicallyPartitioned` it never constrains the value when it is unboxed: shardings are decided
    in one place, `parallel.strategy`, which refuses names it does not know.
    """

    value: Any
    names: tuple[str, ...] = struct.field(pytree_node=False)

    def unbox(self) -> Any:
        return self.value

    def replace_boxed(self, val: Any) -> "LogicalAxes":
        return self.replace(value=val)

    def add_axis(self, index: int, params: dict) -> "LogicalAxes":
        names = list(self.names)
        names.insert(index, params[meta.PARTITION_NAME])
        return self.replace(names=tuple(names))

    def remove_axis(self, index: int, params: dict) -> "LogicalAxes":
        names = list(self.names)
        del names[index]
        return self.replace(names=tuple(names))


def with_axes(init: Callable, *names: str) -> Callable:
    """Initialiser that labels the dims of what `init(key, shape, dtype)` returns."""

    def boxed_init(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> LogicalAxes:
        if len(shape) != len(names):
            raise ValueError(f"a parameter of shape {shape} needs {len(shape)} axis names, got {names}")
        return LogicalAxes(init(key, shape, dtype), names)

    return boxed_init


def is_boxed(leaf: Any) -> bool:
    """Whether a leaf is a parameter with its axis names; the `is_leaf` of trees of them."""
    return isinstance(leaf, LogicalAxes)


def unbox(tree: Any) -> Any:
    """The same tree without its axis names."""
    return jax.tree.map(lambda leaf: leaf.value if is_boxed(leaf) else leaf, tree, is_leaf=is_boxed)
