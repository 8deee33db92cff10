"""A sharding strategy: a mesh and a table from logical axes to mesh axes, read strictly."""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError

Rules = Mapping[str, str | tuple[str, ...] | None]

# Rows of a TPU's registers: parts of so many tokens waste none.
_TILE = 8
_active: contextvars.ContextVar["Strategy | None"] = contextvars.ContextVar("strategy", default=None)


@dataclass(frozen=True)
class Strategy:
    """Where each logical axis of a parameter, an activation or a batch lives.

    Attributes:
      name: as asked for, such as `fsdp_tp:4`.
      mesh: the run's device mesh.
      rules: logical axis → mesh axis, tuple of mesh axes, or None (replicated). Every logical axis is listed.
      optimizer: rules of the optimizer's state and of gradients, where they differ from those of the parameters.
      parts: {module: rules} of parts of the model, such as its towers, where they differ. A module is the beginning of
        its parameters' names: `image` (the input), `image_layers` (the stage).
    """

    name: str
    mesh: Mesh
    rules: Rules
    optimizer: Rules = field(default_factory=dict)
    parts: Mapping[str, Rules] = field(default_factory=dict)

    def __post_init__(self) -> None:
        tables = {"": self.rules, "optimizer": self.optimizer} | {f"parts/{part}": t for part, t in self.parts.items()}
        for table, rules in tables.items():
            where = f"sharding {self.name!r}" + (f", {table}" if table else "")
            unknown = sorted(set(rules) - set(names.LOGICAL_AXES))
            missing = [] if table else sorted(set(names.LOGICAL_AXES) - set(rules))
            if unknown or missing:
                raise UserError(
                    f"{where}: unknown logical axes {unknown}, missing logical axes {missing}; those of "
                    "vlfusion_jax.core.names.LOGICAL_AXES are known, and rules list them all."
                )
            for logical, rule in rules.items():
                for axis in _as_tuple(rule):
                    if axis not in self.mesh.axis_names:
                        raise UserError(f"{where}: {logical!r} goes to unknown mesh axis {axis!r}.")

    def _mesh_axes(self, logical: str) -> tuple[str, ...]:
        return _as_tuple(self.rules[logical])

    def axes_of(self, logical: str) -> tuple[str, ...]:
        """Mesh axes that split a logical axis; one of a single device splits nothing."""
        return tuple(axis for axis in self._mesh_axes(logical) if self.mesh.shape[axis] > 1)

    def of_part(self, path: str) -> "Strategy":
        """The strategy of the parameter or module `path`, such as `image_layers/layers`."""
        part = self.parts.get(path.partition("/")[0])
        return replace(self, rules={**self.rules, **part}, parts={}) if part else self

    def of_optimizer(self) -> "Strategy":
        """The strategy of the optimizer's state and of gradients."""
        parts = {part: {**rules, **self.optimizer} for part, rules in self.parts.items()}
        return replace(self, rules={**self.rules, **self.optimizer}, parts=parts, optimizer={})

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
            axes = self.axes_of(name)  # those of one device may stand in several dims
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
        return self.parts_of(names.BATCH)

    def parts_of(self, logical: str) -> int:
        """Number of parts that a logical axis is split into."""
        return math.prod(self.mesh.shape[axis] for axis in self._mesh_axes(logical))

    @contextlib.contextmanager
    def activate(self) -> Iterator[None]:
        """Within it, functions traced by `jax.jit` have their activations constrained by these rules."""
        token = _active.set(self)
        try:
            yield
        finally:
            _active.reset(token)


def _as_tuple(rule: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if rule is None else (rule,) if isinstance(rule, str) else tuple(rule)


def active_strategy() -> "Strategy | None":
    """The strategy that functions are traced under; None outside of a run."""
    return _active.get()


@contextlib.contextmanager
def within(part: str) -> Iterator[None]:
    """Within it, activations are constrained by the active strategy's rules for a part of the model."""
    strategy = _active.get()
    if strategy is None:
        yield
        return
    with strategy.of_part(part).activate():
        yield


def token_multiple() -> int:
    """What the number of tokens of a stream has to divide by under the active strategy: 1 unless it splits them."""
    strategy = _active.get()
    parts = 1 if strategy is None else strategy.parts_of(names.RESIDUAL_SEQUENCE)
    return parts * _TILE if parts > 1 else 1


def constrain(x: jax.Array, *logical: str) -> Any:
    """`x` with its dims laid out as the active strategy says; unchanged where none is active."""
    strategy = _active.get()
    if strategy is None or strategy.mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, strategy.sharding(logical, x.shape, "activation"))


def part_by_part(function: Callable[..., jax.Array], logical: Sequence[tuple[str, ...]]) -> Callable[..., jax.Array]:
    """`function` applied by every device to its parts of the arguments, of which none needs another's.

    Args:
      function: of arrays; its result is laid out as the first of them.
      logical: axes of each argument.
    """
    strategy = _active.get()
    if strategy is None or strategy.mesh.size == 1:
        return function

    def apply(*arrays: jax.Array) -> jax.Array:
        specs = [strategy.sharding(axes, x.shape, "activation").spec for axes, x in zip(logical, arrays, strict=True)]
        return jax.shard_map(function, mesh=strategy.mesh, in_specs=tuple(specs), out_specs=specs[0], check_vma=False)(
            *arrays
        )

    return apply
