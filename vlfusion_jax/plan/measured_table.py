"""Measurements to read, each beside its prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from matplotlib.figure import Figure

from vlfusion_jax.core.columns import aligned
from vlfusion_jax.plan.measure import Measured
from vlfusion_jax.plan.prediction import Prediction

_GIB = 2**30


@dataclass(frozen=True)
class MeasuredRow:
    """A candidate that ran.

    Attributes:
      label: its name.
      measured: what it took.
      prediction: what was expected.
      compile_seconds: that it took to compile.
    """

    label: str
    measured: Measured
    prediction: Prediction
    compile_seconds: float

    @property
    def error(self) -> float | None:
        """How much the prediction is above the measured time, as a share of that; below 0 where it is below."""
        seconds = self.prediction.seconds
        return None if seconds is None else seconds / self.measured.seconds.median - 1


def format_measured(rows: Sequence[MeasuredRow], problems: Mapping[str, str]) -> str:
    """Table of the rows, the fastest first, and below it what could not be measured or predicted, and why."""
    cells = [("candidate", "examples/s", "step ms", "quartiles", "predicted", "error", "MFU", "GiB", "compile s")]
    for row in rows:
        found, seconds = row.measured, row.measured.seconds
        cells.append(
            (
                row.label,
                f"{found.examples_per_second:,.1f}",
                f"{1e3 * seconds.median:,.1f}",
                f"{1e3 * seconds.low:,.1f} - {1e3 * seconds.high:,.1f}",
                "" if row.prediction.seconds is None else f"{1e3 * row.prediction.seconds:,.1f}",
                "" if row.error is None else f"{100 * row.error:+.0f} %",
                "" if found.mfu is None else f"{100 * found.mfu:.1f} %",
                f"{found.memory_bytes / _GIB:.3f}" + ("" if found.memory_source == "device" else "*"),
                f"{row.compile_seconds:.0f}",
            )
        )
    lines = aligned(cells)
    below = [f"{label}: not measured: {reason}" for label, reason in problems.items()]
    below += [f"{row.label}: no prediction: {row.prediction.missing}" for row in rows if row.prediction.missing]
    if any(row.measured.memory_source != "device" for row in rows):
        below.append("* set aside by the compiler; the device does not say what was in use")
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:], *below])


def to_json(rows: Sequence[MeasuredRow], problems: Mapping[str, str], more: Mapping[str, Any]) -> dict[str, Any]:
    """For `bench.json`."""
    found = [
        {
            "candidate": row.label,
            **asdict(row.measured),
            "seconds": row.measured.seconds._asdict(),
            "prediction": row.prediction._asdict(),
            "error": row.error,
            "compile_seconds": row.compile_seconds,
        }
        for row in rows
    ]
    return {**more, "rows": found, "not_measured": dict(problems)}


def draw_measured(rows: Sequence[MeasuredRow]) -> Figure:
    """Time of an update, measured with its quartiles, and predicted, as bars."""
    figure = Figure(figsize=(8, 1.4 + 0.6 * len(rows)), layout="constrained")
    axes = figure.subplots()
    times = [row.measured.seconds for row in rows]
    spread = [[1e3 * (each.median - each.low), 1e3 * (each.high - each.median)] for each in times]
    medians = [1e3 * each.median for each in times]
    axes.barh(range(len(rows)), medians, 0.4, xerr=list(zip(*spread, strict=True)), label="measured")
    expected = [(i + 0.4, 1e3 * row.prediction.seconds) for i, row in enumerate(rows) if row.prediction.seconds]
    if expected:
        places, lengths = zip(*expected, strict=True)
        axes.barh(places, lengths, 0.4, label="predicted")
    axes.set_yticks([i + 0.2 for i in range(len(rows))], [row.label for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("ms of an update")
    axes.legend(fontsize="small")
    return figure
