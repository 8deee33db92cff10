"""What a comparison says of its runs, from lines of metrics made up here."""

import numpy as np
import pytest
from PIL import Image

from vlfusion_jax.train.comparison import Contender, comparison_table, draw_comparison


def contender(name, accuracies, every=25):
    """A run that trains for a step a second, evaluated every `every` steps."""
    lines = [
        {"step": step, "accuracy": 0.5, "time/clock": step, "time/images_per_second": 8.0} for step in range(1, 101)
    ]
    lines += [{"step": every * (i + 1), "eval/accuracy": value} for i, value in enumerate(accuracies)]
    return Contender(name, 1000, 2_000_000, 3, sorted(lines, key=lambda line: line["step"]))


RUNS = [contender("slow", [0.3, 0.5, 0.7, 0.96]), contender("quick", [0.5, 0.95, 0.94, 0.97])]


@pytest.mark.parametrize(
    ("reach", "steps"), [(0.95, (100, 50)), (0.3, (25, 25)), (0.97, (None, 100)), (1.0, (None, None))]
)
def test_the_first_evaluation_that_is_so_accurate(reach, steps):
    assert tuple(run.steps_to(reach) for run in RUNS) == steps
    head, _, *rows = comparison_table(RUNS, 0.2, reach).splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in (head, *rows)]
    assert cells[0][-1] == f"steps to {100 * reach:g} %"
    assert [row[0] for row in cells[1:]] == ["quick", "slow", "question only"]
    assert [row[-1] for row in cells[1:]] == [*(str(step or "never") for step in reversed(steps)), ""]


def test_without_a_goal_the_table_has_no_column_for_it():
    assert "steps to" not in comparison_table(RUNS, 0.2)


def test_evaluations_are_drawn_where_there_are_several(tmp_path):
    def drawn(runs, **goal):
        draw_comparison(runs, 0.2, tmp_path / "plot.png", **goal)
        with Image.open(tmp_path / "plot.png") as image:
            return np.asarray(image.convert("RGB"))

    several = drawn(RUNS)
    assert (several != drawn([contender("slow", [0.3, 0.6, 0.7, 0.96]), RUNS[1]])).any()
    # With one evaluation each it is the training batches, the same in all.
    once = [[contender("slow", [0.96], every=every), contender("quick", [0.97], every=100)] for every in (50, 100)]
    assert (drawn(once[0]) == drawn(once[1])).all()
    assert (drawn(RUNS, reach=0.95) != several).any()
