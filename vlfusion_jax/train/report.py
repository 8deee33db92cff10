"""A run in pictures: curves over the steps, questions it answered, and which class it takes for which."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vlfusion_jax.train.metrics import EVAL

COLOURS = ("#1f6feb", "#d9480f", "#2b8a3e", "#862e9c", "#b08900", "#c2255c", "#0b7285", "#5c5f66")
RIGHT, WRONG, INK, FAINT = "#2b8a3e", "#c92a2a", "#212529", "#868e96"
ACCURACY, RECALL = "Accuracy", "Recall at 1"
SHARES = (ACCURACY, RECALL)  # panels in percent
_RECALL = re.compile(r"_r1$")
COLUMNS = 4  # of answered questions


@dataclass(frozen=True)
class Answered:
    """A question with the model's answer.

    Attributes:
      image: [height, width, 3] uint8.
      question: its text.
      answer: what the model says.
      probability: in [0, 1], what the model gives its answer.
      truth: the best answer by the data.
      correct: whether the data accepts the answer.
    """

    image: np.ndarray
    question: str
    answer: str
    probability: float
    truth: str
    correct: bool


def draw_curves(lines: Sequence[Mapping[str, float | None]], path: str | Path) -> None:
    """Losses, accuracies, gradient norm and learning rate over the steps, as a PNG.

    Thin lines are single steps, thick lines their running mean, dots evaluations.

    Args:
      lines: of `train.metrics.read_metrics`, at least one with a loss.
      path: file to write.
    """
    names = dict.fromkeys(name for line in lines for name in line)
    of_tasks = [name for name in names if name.endswith("_loss") and not name.startswith(EVAL)]
    accuracies = [n for n in dict.fromkeys(name.removeprefix(EVAL) for name in names) if "accuracy" in n]
    panels = [
        ("Loss (weighted sum)", ["loss"]),
        ("Loss of each task", of_tasks),
        (RECALL, [n.removeprefix(EVAL) for n in names if _RECALL.search(n)][: len(COLOURS)]),
        (ACCURACY, sorted(accuracies, key=lambda name: (not name.startswith("accuracy"), name))[: len(COLOURS)]),
        ("Gradient norm", ["grad_norm"]),
        ("Learning rate", ["lr"]),
    ]
    panels = [(title, shown) for title, shown in panels if any({n, EVAL + n} & names.keys() for n in shown)]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(5.0 * columns, 3.6 * rows), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    for place, (title, shown) in enumerate(panels, 1):
        _panel(figure.add_subplot(rows, columns, place), title, shown, lines)
    save(figure, path)


def _panel(axes: Axes, title: str, names: Sequence[str], lines: Sequence[Mapping[str, float | None]]) -> None:
    for name, colour in zip(names, COLOURS, strict=False):
        label = name.removesuffix("_loss").replace("_", " ")
        steps, values = series(lines, EVAL + name)
        if len(steps) and title in SHARES:
            label += f", {100 * values[-1]:.1f} %"
            axes.plot(steps, values, "o", color=colour, markersize=6, markeredgecolor="white", zorder=3, clip_on=False)
        steps, values = series(lines, name)
        if len(steps):
            axes.plot(steps, values, color=colour, linewidth=0.7, alpha=0.3)
        if title == RECALL:  # of evaluations alone
            steps, values = series(lines, EVAL + name)
        shown = values if name == "lr" or title == RECALL else smooth(values)
        axes.plot(steps, shown, color=colour, linewidth=1.8, label=label)
    axes.set_xlim(0, max(line["step"] for line in lines))
    if title in SHARES:
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_title("dots and figures: evaluation", fontsize=8, color=FAINT, loc="right")
    else:
        axes.set_ylim(bottom=min(0, *axes.dataLim.intervaly))  # word-patch alignment goes below
    dress(axes, title, "step")
    if len(names) > 1:
        for text in axes.legend(fontsize=8, frameon=False, labelcolor=INK).get_texts():
            text.set_parse_math(False)  # a kind of question may hold a $


def dress(axes: Axes, title: str, x_label: str) -> None:
    """Title, label of the x axis, and the looks that all our panels share."""
    axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.set_xlabel(x_label, color=FAINT, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.tick_params(colors=FAINT, labelsize=8)
    axes.grid(color="#e9ecef", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#ced4da")


def series(lines: Sequence[Mapping[str, float | None]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps [n] of the lines that have a number under `name`, and those numbers [n]."""
    points = [(line["step"], line[name]) for line in lines if line.get(name) is not None]
    return np.array([step for step, _ in points]), np.array([value for _, value in points], float)


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred mean over a twentieth of `values` [n], over fewer towards the ends."""
    half = len(values) // 40
    sums = np.concatenate([[0.0], np.cumsum(values)])
    low = np.maximum(np.arange(len(values)) - half, 0)
    high = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def draw_answers(answered: Sequence[Answered], path: str | Path) -> None:
    """A grid of images with question and answer, green where right and red where wrong, as a PNG.

    Args:
      answered: what to show, at least one.
      path: file to write.
    """
    columns = min(COLUMNS, len(answered))
    rows = -(-len(answered) // columns)
    figure = Figure(figsize=(2.9 * columns, 3.7 * rows), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    for place, item in enumerate(answered, 1):
        axes = figure.add_subplot(rows, columns, place)
        colour = RIGHT if item.correct else WRONG
        axes.imshow(item.image, interpolation="nearest")
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(color=colour, linewidth=2.5)
        question = "\n".join(textwrap.wrap(item.question, 34)[:3])
        axes.set_title(question, fontsize=9, color=INK, pad=7, parse_math=False)
        verdict = f"{item.answer}  {item.probability:.0%}" + ("" if item.correct else f"\ntruth: {item.truth}")
        axes.set_xlabel(verdict, fontsize=10, color=colour, fontweight="bold", labelpad=6, parse_math=False)
    save(figure, path)


def draw_confusion(matrix: np.ndarray, classes: Sequence[str], path: str | Path) -> None:
    """How many of each class were taken for which, coloured by their share of the class, as a PNG.

    Args:
      matrix: [classes, classes], of each class (rows) taken for each (columns).
      classes: their names.
      path: file to write.
    """
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = 2.0 + 0.7 * len(classes)
    figure = Figure(figsize=(side + 1.0, side), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if shares[row, column] > 0.5 else INK
        axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=9, color=colour)
    ticks = range(len(classes))
    for text in axes.set_xticks(ticks, classes, rotation=45, ha="right"), axes.set_yticks(ticks, classes):
        for tick in text:
            tick.label1.set_parse_math(False)  # a class may hold a $
    axes.tick_params(colors=FAINT, labelsize=9)
    axes.spines[:].set_visible(False)
    axes.set_title("Labels (rows) and what they were taken for", fontsize=11, color=INK, loc="left")
    save(figure, path)


def save(figure: Figure, path: str | Path) -> None:
    """Write the figure as a PNG."""
    FigureCanvasAgg(figure).print_png(str(path))
