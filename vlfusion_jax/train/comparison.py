"""Runs on the same data with the same budget, side by side: a table and a plot from what the runs wrote."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from vlfusion_jax.train.metrics import EVAL, TIME
from vlfusion_jax.train.report import COLOURS, FAINT, INK, dress, save, series, smooth

ACCURACY = "accuracy"
QUESTION_ONLY = "question only"
LOOKS = (("-", "o"), ("--", "s"), (":", "^"))  # of the first, second and third round through the colours


@dataclass(frozen=True)
class Contender:
    """A finished run; an example is a question with its image.

    Attributes:
      name: what the table calls it.
      parameters: number of them.
      flops: forward FLOPs of an example, with its share of the image.
      questions: questions of an image of a training batch.
      lines: of `train.metrics.read_metrics`.
    """

    name: str
    parameters: int
    flops: int
    questions: int
    lines: Sequence[Mapping[str, float | None]]

    @property
    def accuracy(self) -> float:
        """Of the last evaluation."""
        return float(self.evaluations[1][-1])

    @property
    def evaluations(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps at which it was evaluated, and the accuracies there."""
        return series(self.lines, EVAL + ACCURACY)

    def steps_to(self, accuracy: float) -> int | None:
        """The first of these steps whose accuracy is at least so high; None where there is none."""
        steps, accuracies = self.evaluations
        reached = steps[accuracies >= accuracy]
        return int(reached[0]) if len(reached) else None

    @property
    def examples_per_second(self) -> float:
        """Median over the training after its first step, which waits for the compilation."""
        steps, images = series(self.lines, TIME + "images_per_second")
        later = images[steps > 1]
        return float(np.median(later if len(later) else images)) * self.questions

    @property
    def seconds(self) -> float:
        """Of training, compilation and whatever evaluations came before the last step included."""
        return float(series(self.lines, TIME + "clock")[1][-1])


def best_first(contenders: Sequence[Contender]) -> list[Contender]:
    """The order of table and plot; equals stay as they were."""
    return sorted(contenders, key=lambda each: -each.accuracy)


def comparison_table(contenders: Sequence[Contender], question_only: float, reach: float = 0.0) -> str:
    """Markdown table, best first, with the accuracy `question_only` that takes no look at the image as its last row.

    Where `reach` is not 0 there is a column of the first evaluated steps that are so accurate.
    """
    rows = [["", "accuracy", "parameters", "MFLOPs/example", "examples/s", "seconds"]]
    if reach:
        rows[0].append(f"steps to {100 * reach:g} %")
    for each in best_first(contenders):
        rows.append([
            each.name, f"{100 * each.accuracy:.1f} %", f"{each.parameters:,}", f"{each.flops / 1e6:.2f}",
            f"{each.examples_per_second:,.0f}", f"{each.seconds:.0f}",
        ])  # fmt: skip
        if reach:
            rows[-1].append(f"{each.steps_to(reach) or 'never'}")
    rows.append([QUESTION_ONLY, f"{100 * question_only:.1f} %", *[""] * (len(rows[0]) - 2)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [" | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    rule = " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])])
    return "\n".join(f"| {line} |" for line in (lines[0], rule, *lines[1:]))


def draw_comparison(contenders: Sequence[Contender], question_only: float, path: str | Path, reach: float = 0) -> None:
    """Accuracy over the steps, and of the last evaluation against FLOPs, as a PNG.

    Over the steps it is that of the evaluations, where all runs had several, else that of the training batches.

    Args:
      contenders: at least one.
      question_only: accuracy without the image, drawn as a line.
      path: file to write.
      reach: accuracy to draw a line at; 0 = none.
    """
    evaluated = all(len(each.evaluations[0]) > 1 for each in contenders)
    figure = Figure(figsize=(12.5, 4.6), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    learning, cost = figure.subplots(1, 2)
    for i, each in enumerate(best_first(contenders)):
        colour = COLOURS[i % len(COLOURS)]
        line, marker = LOOKS[i // len(COLOURS) % len(LOOKS)]
        if evaluated:
            learning.plot(*each.evaluations, line, color=colour, linewidth=1.6, marker=marker, markersize=3)
        else:
            steps, values = series(each.lines, ACCURACY)
            learning.plot(steps, smooth(values), line, color=colour, linewidth=1.6)
        cost.plot(
            each.flops / 1e6, each.accuracy, color=colour, linestyle=line, marker=marker, markersize=8,
            markeredgecolor="white", zorder=3, clip_on=False, label=f"{each.name}, {100 * each.accuracy:.1f} %",
        )  # fmt: skip
    for axes in (learning, cost):
        axes.axhline(question_only, color=FAINT, linewidth=1.2, linestyle=(0, (1, 2)), label=QUESTION_ONLY)
        if reach:
            axes.axhline(reach, color=FAINT, linewidth=0.8)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    lowest = min(question_only, *(each.accuracy for each in contenders))
    learning.set_ylim(0, 1)
    learning.set_xlim(left=0)
    cost.set_ylim(max(0, lowest - 0.05), 1)
    cost.set_xlim(0, 1.1 * max(each.flops for each in contenders) / 1e6)
    dress(
        learning, "Accuracy of the evaluations" if evaluated else "Accuracy of training batches, running mean", "step"
    )
    dress(cost, "Accuracy of the last evaluation", "forward MFLOPs of an example")
    handles, labels = cost.get_legend_handles_labels()
    legend = figure.legend(
        handles, labels, loc="outside right center", fontsize=8, frameon=False, labelcolor=INK, handlelength=3
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    save(figure, path)
