"""An evaluation as a table: ours, without the image, and what others published."""

import re
from collections.abc import Mapping
from typing import Any

from vlfusion_jax.core.columns import aligned

_RECALL, _NUMBER = re.compile(r"_to_(image|text)_r\d+$"), re.compile(r"\d+")


def format_table(
    metrics: Mapping[str, float], blind: Mapping[str, float], published: Mapping[str, Mapping[str, Any]]
) -> str:
    """Rows of metrics; columns: this run, question only (where known), each published model.

    Accuracies and recalls are in percent. Sources of the published figures follow the table, one line each.

    Args:
      metrics: of `evals.runner.evaluate`.
      blind: of `evals.blind.blind_accuracy`; may be empty.
      published: name → {metric: number, `source`: text}; may be empty.
    """
    names = sorted({*metrics, *(key for model in published.values() for key in model if key != "source")}, key=_order)
    columns: list[tuple[str, Mapping[str, Any]]] = [("this run", metrics)]
    if blind:
        columns.append(("question only", {name: blind[_blind(name)] for name in names if _blind(name) in blind}))
    columns += [(name.replace("_", " "), values) for name, values in published.items()]
    rows = [["", *(title for title, _ in columns)]]
    rows += [[name, *(_cell(name, values.get(name)) for _, values in columns)] for name in names]
    lines = aligned(rows)
    lines.insert(1, "  ".join("-" * max(map(len, column)) for column in zip(*rows, strict=True)))
    lines += [
        f"{name.replace('_', ' ')}: {values['source']}" for name, values in published.items() if "source" in values
    ]
    return "\n".join(lines)


def _blind(name: str) -> str:
    """`accuracy_blind_x` for `accuracy_x` and `answer_accuracy_x`; other metrics have no such bound."""
    of_answers = name.removeprefix("answer_")
    return of_answers.replace("accuracy", "accuracy_blind", 1) if of_answers.startswith("accuracy") else ""


def _order(name: str) -> tuple[bool, bool, str]:
    """Answers first, other accuracies and recalls next, losses last; R@5 before R@10."""
    return name.endswith("loss"), not _blind(name), _NUMBER.sub(lambda found: found[0].zfill(9), name)


def _cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    is_share = "accuracy" in name or name == "consistency" or _RECALL.search(name)
    return f"{100 * value:.1f} %" if is_share else f"{value:.4f}"
