"""A plan to read: candidates side by side."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vlfusion_jax.core.columns import aligned
from vlfusion_jax.plan.candidate import Candidate
from vlfusion_jax.plan.estimate import Estimate

_GIB = 2**30
# By what the compute time comes from.
_UNPRICED = {
    "cycles": "the time leaves out what the compiler has no cycles for",
    "roofline": "the time leaves out the arithmetic, not the bytes, of calls that do not say what they compute",
}


@dataclass(frozen=True)
class Row:
    """What became of a candidate.

    Attributes:
      candidate: what was compiled.
      estimate: None where it did not compile.
      problem: why it did not.
      compile_seconds: that it took.
      share: of a device's memory that it needs; None where that is not known.
      largest_batch: most images of a device that do fit, where this does not; None where nobody looked.
    """

    candidate: Candidate
    estimate: Estimate | None
    problem: str
    compile_seconds: float
    share: float | None = None
    largest_batch: int | None = None

    @property
    def fits(self) -> bool:
        """Whether a device has room for it."""
        return self.estimate is not None and self.estimate.memory_bytes <= self.estimate.capacity_bytes

    @property
    def room(self) -> str:
        """What would fit in its place."""
        if self.largest_batch is None:
            return ""
        return f"{self.largest_batch} images a device fit" if self.largest_batch else "not one image a device fits"


def by_speed(rows: Sequence[Row]) -> list[Row]:
    """What fits first, the fastest first; then what does not fit, then what did not compile."""

    def key(row: Row) -> tuple:
        return row.estimate is None, not row.fits, -(row.estimate.examples_per_second if row.estimate else 0)

    return sorted(rows, key=key)


def format_rows(rows: Sequence[Row]) -> str:
    """Table of the rows, and below it a line for each that did not compile, and what each sends."""
    heading = (
        "candidate", "examples/s", "step ms", "compute", "cycles", "roofline", "exposed", "MFU", "TFLOP", "compiled",
        "GiB", "of", "state", "temp", "sent MB", "least MB", "ratio", "compile s",
    )  # fmt: skip
    cells = [heading]
    for row in rows:
        found = row.estimate
        if found is None:
            continue
        cells.append(
            (
                row.candidate.label,
                f"{found.examples_per_second:,.0f}" if row.fits else "does not fit",
                f"{1e3 * found.step_seconds:.1f}",
                f"{1e3 * found.compute_seconds:.1f}",
                "" if found.cycle_seconds is None else f"{1e3 * found.cycle_seconds:.1f}",
                "" if found.roofline_seconds is None else f"{1e3 * found.roofline_seconds:.1f}",
                f"{1e3 * found.exposed_seconds:.1f}",
                "" if found.mfu is None else f"{100 * found.mfu:.1f} %",
                f"{found.model_flops / 1e12:.2f}",
                f"{found.program_flops / 1e12:.2f}",
                f"{found.memory_bytes / _GIB:.2f}",
                f"{found.capacity_bytes / _GIB:.0f}",
                f"{found.argument_bytes / _GIB:.2f}",
                f"{found.temporary_bytes / _GIB:.2f}",
                f"{sum(each.sent_bytes for each in found.traffic) / 1e6:,.0f}",
                f"{found.least_bytes / 1e6:,.0f}",
                f"{sum(each.sent_bytes for each in found.traffic) / found.least_bytes:.2f}"
                if found.least_bytes
                else "",
                f"{row.compile_seconds:.0f}",
            )
        )
    lines = aligned(cells)
    lines += [f"{row.candidate.label}: {row.problem}" for row in rows if row.problem]
    lines += [f"{row.candidate.label}: {row.room}" for row in rows if row.room]
    lines += [
        f"{row.candidate.label}: {_UNPRICED[row.estimate.compute_by]}: {', '.join(row.estimate.unpriced)}"
        for row in rows
        if row.estimate and row.estimate.unpriced
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def format_traffic(rows: Sequence[Row]) -> str:
    """What each candidate sends: kind, axes, how many, MB, share that moves beside work."""
    lines = []
    for row in rows:
        for each in row.estimate.traffic if row.estimate else ():
            lines.append(
                f"{row.candidate.label}: {each.count} {each.kind} over {'×'.join(each.axes)}, "
                f"{each.sent_bytes / 1e6:,.1f} MB a device, {100 * each.asynchronous:.0f} % beside work, "
                f"{1e3 * each.seconds:.2f} ms of its links"
            )
    return "\n".join(lines)


def to_dict(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For `plan.json`."""
    return [asdict(row) | {"fits": row.fits} for row in rows]


def draw(rows: Sequence[Row]) -> Figure:
    """Memory of a device against its capacity, the time of a step, and what it sends, as bars."""
    shown = [row for row in rows if row.estimate]
    found = [row.estimate for row in shown]
    figure = Figure(figsize=(13, 1.5 + 0.5 * len(shown)), layout="constrained")
    memory, step, sent = figure.subplots(1, 3, sharey=True)
    others = [each.memory_bytes - each.argument_bytes - each.temporary_bytes for each in found]
    _stack(
        memory,
        {
            "state and batch": [each.argument_bytes / _GIB for each in found],
            "temporaries": [each.temporary_bytes / _GIB for each in found],
            "results, program": [each / _GIB for each in others],
        },
    )
    for capacity in {each.capacity_bytes / _GIB for each in found}:
        memory.axvline(capacity, color="black", linestyle="--", label="capacity")
    memory.set_xlabel("GiB of a device")
    _stack(
        step,
        {
            "compute": [1e3 * each.compute_seconds for each in found],
            "waiting for the network": [1e3 * each.exposed_seconds for each in found],
        },
    )
    step.set_xlabel("ms of a step")
    kinds = sorted({traffic.kind for each in found for traffic in each.traffic})
    _stack(
        sent,
        {
            kind: [sum(each.sent_bytes for each in one.traffic if each.kind == kind) / 1e6 for one in found]
            for kind in kinds
        },
    )
    least = [each.least_bytes / 1e6 for each in found]
    sent.scatter(least, range(len(least)), color="black", marker="|", s=200, zorder=2, label="least")
    sent.set_xlabel("MB that a device sends in a step")
    memory.set_yticks(range(len(shown)), [row.candidate.label for row in shown])
    memory.invert_yaxis()
    for axes in (memory, step, sent):
        axes.legend(fontsize="small")
    return figure


def _stack(axes: Axes, parts: dict[str, list[float]]) -> None:
    """Bars, one below the other, of parts that follow each other."""
    left = 0
    for label, lengths in parts.items():
        axes.barh(range(len(lengths)), lengths, left=left, label=label)
        left = np.add(left, lengths)
