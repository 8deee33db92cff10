"""Many tasks as one objective: Σ λ_t(step) · sum_t / Σ weight_t."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.optim.schedules import piecewise_linear
from vlfusion_jax.tasks.task import Batch, Metrics, Task
from vlfusion_jax.train.views import run_views

Sums = dict[str, tuple[jax.Array, jax.Array]]
Objective = Callable[[Any, Batch, dict[str, jax.Array], jax.Array], tuple[jax.Array, Sums]]


def sums_of(tasks: Sequence[Task], outputs: dict[str, FusionOutput], batch: Batch) -> Sums:
    """{name: (sum, weight)} of every loss (`mlm_loss`) and metric."""
    sums: Metrics = {}
    for task in tasks:
        output = outputs[task.view]
        sums[f"{task.name}_loss"] = (task.loss(output, batch), task.weight(batch))
        sums |= task.metrics(output, batch)
    return sums


def task_factors(tasks: Sequence[Task], config: Any) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """Function step → {task: λ_t(step)}, its weight times its schedule.

    Where one task is drawn for each step, by the weights, the weight itself is left out.
    """
    schedules = {task.name: piecewise_linear(config.tasks[task.name].schedule) for task in tasks}
    drawn = config.tasks.combine == "sample"
    weights = {task.name: 1.0 if drawn else config.tasks[task.name].weight for task in tasks}
    return lambda step: {name: weights[name] * schedule(step) for name, schedule in schedules.items()}


def task_scales(tasks: Sequence[Task], config: Any) -> Callable[[Batch, jax.Array], dict[str, jax.Array]]:
    """Function (whole batch, step) → {task: λ_t(step) / Σ weight_t}: what each sum is multiplied with."""
    factors = task_factors(tasks, config)

    def scales(batch: Batch, step: jax.Array) -> dict[str, jax.Array]:
        # A task without items has a sum of zero; the floor only keeps 0 / 0 out.
        of_task = factors(step)
        return {task.name: of_task[task.name] / jnp.maximum(task.weight(batch), 1e-6) for task in tasks}

    return scales


def make_objective(model: FusionModel, tasks: Sequence[Task]) -> Objective:
    """Function (params, batch or part of it, scales, rng) → (its share of the objective, sums as in `sums_of`)."""

    def objective(params: Any, batch: Batch, scales: dict, rng: jax.Array) -> tuple[jax.Array, Sums]:
        sums = sums_of(tasks, run_views(model, params, batch, tasks, rng), batch)
        return sum(scales[task.name] * sums[f"{task.name}_loss"][0] for task in tasks), sums

    return objective
