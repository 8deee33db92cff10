"""Other ways than a weighted sum to make one objective of many tasks; each wraps what the sum is made by."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vlfusion_jax.core import names
from vlfusion_jax.core.partitioned import with_axes
from vlfusion_jax.core.rng import numpy_rng
from vlfusion_jax.tasks.task import Batch, Task
from vlfusion_jax.train.accumulate import GradFunction
from vlfusion_jax.train.objective import Objective, Sums


def log_variances(tasks: Sequence[Task]) -> dict[str, Any]:
    """Parameters s_t of `uncertain`, one for each task, 0 at first; with their axis names."""
    zeros = with_axes(jax.nn.initializers.zeros)
    return {names.LOG_VARIANCE: {task.name: zeros(jax.random.key(0), (), jnp.float32) for task in tasks}}


def uncertain(objective: Objective) -> Objective:
    """`objective` with each task's loss L_t times exp(-s_t) (Kendall et al. 2018, eq. 10, s = log σ²)."""

    def weighted(params: Any, batch: Batch, scales: dict[str, jax.Array], rng: jax.Array) -> tuple[jax.Array, Sums]:
        logs = params[names.LOG_VARIANCE]
        return objective(params, batch, {name: scale * jnp.exp(-logs[name]) for name, scale in scales.items()}, rng)

    return weighted


def with_log_variances(grad_function: GradFunction, tasks: Sequence[Task]) -> GradFunction:
    """Adds Σ λ_t s_t / 2, once for the whole batch, to what `grad_function` gives of `uncertain`.

    λ_t is the task's factor: a task that is switched off by its schedule, or has no items in a batch, leaves its s_t as
    it is.
    """

    def added(params: Any, batch: Batch, scales: dict[str, jax.Array], rng: jax.Array) -> Any:
        (value, sums), grads = grad_function(params, batch, scales, rng)
        halves = {task.name: scales[task.name] * task.weight(batch) / 2 for task in tasks}
        logs, of_logs = params[names.LOG_VARIANCE], grads[names.LOG_VARIANCE]
        value = value + sum(halves[name] * logs[name] for name in halves)
        sums = sums | {f"log_variance_{name}": (logs[name], jnp.float32(1)) for name in halves}
        return (value, sums), grads | {names.LOG_VARIANCE: {name: of_logs[name] + halves[name] for name in halves}}

    return added


def drawn_task(config: Any, tasks: Sequence[Task], step: int) -> int:
    """Number of the task that step `step` trains, drawn by the weights (UNITER, Chen et al. 2020), for every host."""
    weights = np.array([config.tasks[task.name].weight for task in tasks])
    return int(numpy_rng(config.seed, names.TASK, step).choice(len(tasks), p=weights / weights.sum()))
