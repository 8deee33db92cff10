"""Tasks are those of positive weight."""

import pytest

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.tasks.build import build_tasks


@pytest.mark.parametrize("chosen", [("mlm",), ("itm", "vqa"), ("mlm", "itm", "vqa"), ("nlvr",)])
def test_tasks_of_positive_weight(chosen):
    tasks = default_config().tasks
    for name in tasks:
        tasks[name].weight = 0.5 if name in chosen else 0.0
    tasks.vqa.loss = "ce"
    built = {task.name: task for task in build_tasks(tasks, 5, ("a", "b"))}
    assert set(built) == set(chosen)
    for name, task in built.items():
        assert task.view == names.VIEW_OF_TASK[name]
    if "vqa" in chosen:
        assert (built["vqa"].answers, built["vqa"].kinds, built["vqa"].criterion) == (5, ("a", "b"), "ce")
