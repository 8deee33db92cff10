"""One update, as a pure function."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vlfusion_jax.core import names, rng
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.optim.schedules import Schedule
from vlfusion_jax.tasks.itc import ImageTextContrast
from vlfusion_jax.tasks.task import Batch, Task
from vlfusion_jax.train.accumulate import GradFunction, accumulate
from vlfusion_jax.train.combine import uncertain, with_log_variances
from vlfusion_jax.train.contrast import in_parts, with_contrast
from vlfusion_jax.train.objective import Sums, make_objective, sums_of, task_scales
from vlfusion_jax.train.state import TrainState
from vlfusion_jax.train.views import run_views

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]


def make_train_step(
    model: FusionModel,
    tasks: Sequence[Task],
    optimizer: optax.GradientTransformation,
    schedule: Schedule,
    config: Any,
    shardings: Any,
) -> TrainStep:
    """Function (state, global batch) → (state, metrics): f32 scalars `loss`, `<task>_loss`, accuracies, norms, `lr`.

    `loss` is the objective itself, after weighting. An accuracy that nothing in the batch counts for is NaN.

    Args:
      model, tasks, optimizer, schedule, config: of the run.
      shardings: of the gradients, a tree like the parameters.
    """
    is_uncertain = config.tasks.combine == "uncertainty"
    parts = config.train.micro_batches
    contrast = next((task for task in tasks if isinstance(task, ImageTextContrast)), None)
    objective = make_objective(model, tasks if parts == 1 else in_parts(tasks))
    objective = uncertain(objective) if is_uncertain else objective
    gradient = placed(jax.value_and_grad(objective, has_aux=True), shardings)
    gradient = accumulate(gradient, parts, config.train.batch_size)
    gradient = with_contrast(gradient, model, contrast, parts) if contrast and parts > 1 else gradient
    gradient = with_log_variances(gradient, tasks) if is_uncertain else gradient
    scales = task_scales(tasks, config)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        dropout = rng.key(config.seed, names.DROPOUT, state.step)
        (loss, sums), grads = gradient(state.params, batch, scales(batch, state.step), dropout)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {name: _mean(name, *pair) for name, pair in sums.items()}
        metrics |= {"loss": loss, "grad_norm": optax.tree.norm(grads), "lr": schedule(state.step)}
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), metrics

    return train_step


def placed(grad_function: GradFunction, shardings: Any) -> GradFunction:
    """`grad_function` with gradients laid out like the optimizer's state: summed into the parts that each device needs.

    Left to the compiler, a gradient is summed whole on all devices, and cut afterwards. Of micro-batches each is summed
    over the devices, so that no device ever holds a gradient of its own beside the sum.
    """

    def of_parts(*args: Any) -> Any:
        value, grads = grad_function(*args)
        return value, jax.lax.with_sharding_constraint(grads, shardings)

    return of_parts


def _mean(name: str, total: jax.Array, weight: jax.Array) -> jax.Array:
    """`total / weight`; without weight a loss is 0, and an accuracy is not a number."""
    mean = total / jnp.maximum(weight, 1e-6)
    return mean if name.endswith("loss") else jnp.where(weight > 0, mean, jnp.nan)


def make_eval_step(model: FusionModel, tasks: Sequence[Task]) -> Callable[[Any, Batch], Sums]:
    """Function (params, batch) → {metric: (sum, weight)}, without dropout."""
    return lambda params, batch: sums_of(tasks, run_views(model, params, batch, tasks, None), batch)
