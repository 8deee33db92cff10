"""Tasks are those of positive weight."""

import pytest

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.models.families import vilt
from vlfusion_jax.models.families.given import ANY_GIVEN
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.models.spec.streams import IMAGE
from vlfusion_jax.tasks.build import build_tasks


@pytest.mark.parametrize("chosen", [("mlm",), ("itm", "vqa"), ("mrm", "vqa"), ("mlm", "itm", "vqa", "mrm")])
def test_tasks_of_positive_weight(chosen):
    tasks = default_config().tasks
    for name in tasks:
        tasks[name].weight = 0.5 if name in chosen else 0.0
    tasks.vqa.loss = "ce"
    tasks.mrm.loss = "smooth_l1"
    spec = vilt.spec(hyperparameters("vilt", "tiny"), ANY_GIVEN)
    built = {task.name: task for task in build_tasks(tasks, spec, 5, ("a", "b"))}
    assert set(built) == set(chosen)
    for name, task in built.items():
        assert task.view == names.VIEW_OF_TASK[name]
    if "vqa" in chosen:
        assert (built["vqa"].answers, built["vqa"].kinds, built["vqa"].criterion) == (5, ("a", "b"), "ce")
    if "mrm" in chosen:
        task = built["mrm"]
        assert (task.image, task.target, task.predicted, task.criterion) == (
            spec.input(IMAGE), "feature", "feature", "smooth_l1"
        )  # fmt: skip
