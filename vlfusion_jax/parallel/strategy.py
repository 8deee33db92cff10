"""A sharding strategy: a mesh and a table from logical axes to mesh axes, read strictly."""

import contextlib
import contextvars
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError

_active: contextvars.ContextVar["Strategy | None"] = contextvars.ContextVar("strategy", default=None)


@dataclass(frozen=True)
class Strategy:
    """Where each logical axis of a parameter, an activation or a batch lives.

    Attributes:
      name: as asked for, such as `fsdp_tp:4`.
      mesh: the run's device mesh.
      rules: logical axis → mesh axis, tuple of mesh axes, or None (replicated). Every logical axis is listed.
    """

    name: str
    mesh: Mesh
    rules: dict[str, str | tuple[str, ...] | None]

    def __post_init__(self) -> None:
        unknown = set(self.rules) - set(names.LOGICAL_AXES)
        missing = set(names.LOGICAL_AXES) - set(self.rules)
        if unknown or missing:
            raise UserError(
                f"sharding {self.name!r}: unknown logical axes {sorted(unknown)}, missing logical axes "
                f"{sorted(missing)}; list exactly those of vlfusion_jax.core.names.LOGICAL_AXES."
            )
        for logical in self.rules:
            for axis in self._mesh_axes(logical):
                if axis not in self.mesh.axis_names:
                    raise UserError(f"sharding {self.name!r}: {logical!r} goes to unknown mesh axis {axis!r}.")

    def _mesh_axes(self, logical: str) -> tuple[str, ...]:
        rule = self.rules[logical]
        return () if rule is None else (rule,) if isinstance(rule, str) else tuple(rule)

    def sharding(self, logical: tuple[str, ...], shape: tuple[int, ...], where: str) -> NamedSharding:
        """Sharding of an array of `shape` whose dims are named `logical`.

        Args:
          logical: logical axis per dim.
          shape: its shape.
          where: name of the parameter, for the messages.

        Raises:
          UserError: for an unknown logical axis, a mesh axis used for two dims, or a dim that does not divide.
        """
        entries, used = [], {}
        for dim, (name, size) in enumerate(zip(logical, shape, strict=True)):
            if name not in self.rules:
                raise UserError(f"{where}: unknown logical axis {name!r} in {logical}; known: {names.LOGICAL_AXES}.")
            # An axis of one device splits nothing: it may stand in several dims.
            axes = tuple(axis for axis in self._mesh_axes(name) if self.mesh.shape[axis] > 1)
            for axis in axes:
                if axis in used:
                    raise UserError(
                        f"{where}: mesh axis {axis!r} is used twice, for {logical[used[axis]]!r} and {name!r} of "
                        f"{logical}; change the rules of sharding {self.name!r}."
                    )
                used[axis] = dim
            parts = math.prod(self.mesh.shape[axis] for axis in axes)
            if size % parts:
                raise UserError(
                    f"{where}: dim {name!r} of size {size} does not divide by {parts} "
                    f"(mesh {'×'.join(f'{a}={self.mesh.shape[a]}' for a in axes)}) under sharding {self.name!r}."
                )
            entries.append(None if not axes else axes[0] if len(axes) == 1 else axes)
        return NamedSharding(self.mesh, PartitionSpec(*entries))

    @property
    def replicated(self) -> NamedSharding:
        """Sharding of what every device holds whole."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def batch_sharding(self) -> NamedSharding:
        """Sharding of a batch: its rows over the axes of `batch`."""
        return NamedSharding(self.mesh, PartitionSpec(self._mesh_axes(names.BATCH)))

    @property
    def batch_parts(self) -> int:
        """Number of parts that a batch is split into."""
        return math.prod(self.mesh.shape[axis] for axis in self._mesh_axes(names.BATCH))

    @contextlib.contextmanager
    def activate(self) -> Iterator[None]:
        """Within it, functions traced by `jax.jit` have their activations constrained by these rules."""
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)


def constrain(x: jax.Array, *logical: str) -> Any:
    """`x` with its dims laid out as the active strategy says; unchanged where none is active."""
    strategy = _active.get()
    if strategy is None or strategy.mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, strategy.sharding(logical, x.shape, "activation"))
