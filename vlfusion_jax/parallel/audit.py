"""Where the parameters' bytes go: a table to read before a run starts."""

import math
from dataclasses import dataclass
from typing import Any

import jax

from vlfusion_jax.core.columns import aligned
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.partitioned import is_boxed
from vlfusion_jax.core.tree import flatten, num_bytes


@dataclass(frozen=True)
class AuditRow:
    """One parameter: its shape, logical axes, mesh axes, and bytes in all and on each device."""

    path: str
    shape: tuple[int, ...]
    logical: tuple[str, ...]
    spec: str
    bytes_total: int
    bytes_per_device: int

    @property
    def replicated(self) -> bool:
        return self.bytes_total == self.bytes_per_device


def audit(boxed_params: Any, shardings: Any) -> list[AuditRow]:
    """Rows for abstract parameters that still carry their axis names, and their shardings."""
    boxes = jax.tree_util.tree_leaves_with_path(boxed_params, is_leaf=is_boxed)
    rows = []
    for (_, box), (path, sharding) in zip(boxes, flatten(shardings).items(), strict=True):
        shape = box.value.shape
        total = num_bytes(box.value)
        share = math.prod(shape) // max(1, math.prod(sharding.shard_shape(shape)))
        spec = "×".join("+".join((e,) if isinstance(e, str) else e) for e in sharding.spec if e) or "replicated"
        rows.append(AuditRow(path, shape, box.names, spec, total, total // share))
    return rows


def check_replication(rows: list[AuditRow], limit_kib: int, num_devices: int, strategy: str) -> None:
    """Refuses to start when a parameter over `limit_kib` KiB would lie whole on every device; 0 = no limit.

    Raises:
      UserError: naming the parameters.
    """
    over = [row for row in rows if row.replicated and row.bytes_total > limit_kib * 1024]
    if limit_kib and num_devices > 1 and over:
        listed = ", ".join(f"{row.path} ({row.bytes_total / 1024:.0f} KiB)" for row in over)
        raise UserError(
            f"sharding {strategy!r} leaves on every device whole: {listed}. Shard them, or raise "
            f"audit.max_replicated_kib (now {limit_kib})."
        )


def _size(num: int) -> str:
    return f"{num / 2**20:,.2f} MiB" if num >= 2**20 else f"{num / 2**10:,.1f} KiB"


def format_audit(rows: list[AuditRow], num_devices: int) -> str:
    """The rows as a table, with totals."""
    total = sum(row.bytes_total for row in rows)
    here = sum(row.bytes_per_device for row in rows)
    cells = [("parameter", "shape", "logical axes", "mesh axes", "bytes", "bytes a device")]
    for row in rows:
        shape = "×".join(map(str, row.shape))
        cells.append(
            (row.path, shape, " ".join(row.logical), row.spec, _size(row.bytes_total), _size(row.bytes_per_device))
        )
    cells.append(("total", "", "", "", _size(total), _size(here)))
    lines = aligned(cells, left=4)
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], summarise_audit(rows, num_devices)])


def summarise_audit(rows: list[AuditRow], num_devices: int) -> str:
    """The rows in one line: parameters, bytes on each device, what is not split."""
    total = sum(row.bytes_total for row in rows)
    here = sum(row.bytes_per_device for row in rows)
    whole = sum(row.bytes_total for row in rows if row.replicated)
    return (
        f"{sum(math.prod(row.shape) for row in rows):,} parameters on {num_devices} device(s): {_size(here)} each; "
        f"{_size(whole)} ({100 * whole / max(1, total):.1f} %) lie whole on every device"
    )
