"""The contrast of a big batch, computed in parts: its gradient is that of the whole (Gao et al. 2021, "GradCache").

Other losses are sums over items; a contrast is not. But it is a function of a few numbers for each row, its vectors:
they are computed part by part without a gradient, the loss and its gradient at them once for the whole batch, and then
each part computes its vectors again and passes the gradient on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.tasks.itc import ImageTextContrast
from vlfusion_jax.tasks.task import Batch, Metrics, Task
from vlfusion_jax.train.accumulate import GradFunction, by_parts
from vlfusion_jax.train.views import images_in, run_views

_PART = "part_of_contrast/"  # batch entries: what the contrast of the whole batch asks of each row
_LOSS = "loss"


@dataclass(frozen=True)
class PartOfContrast:
    """Stands for a contrast within a part: its value is the part's share of the whole batch's, its gradient too."""

    whole: ImageTextContrast
    name: str = names.ITC
    view: str = names.PLAIN
    heads: tuple[str, ...] = (names.CONTRASTIVE,)

    def weight(self, batch: Batch) -> jax.Array:
        return self.whole.weight(batch)

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        found = self.whole.vectors(output)
        passed = sum((x * batch[_PART + name]).sum() for name, x in found.items())
        return batch[_PART + _LOSS].sum() + passed - jax.lax.stop_gradient(passed)

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        del output, batch
        return {}


def in_parts(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks as a part of a batch has them."""
    return tuple(PartOfContrast(task) if isinstance(task, ImageTextContrast) else task for task in tasks)


def with_contrast(grad_function: GradFunction, model: FusionModel, task: ImageTextContrast, parts: int) -> GradFunction:
    """Wraps what accumulates gradients over `parts` parts of tasks that are `in_parts`.

    Args:
      grad_function: (params, batch, scales, rng) → ((value, sums), grads), see `train.accumulate`.
      model: whose vectors are compared.
      task: the contrast of the whole batch.
      parts: divides the batch.
    """

    def vectors_of(params: Any, batch: Batch, rng: jax.Array) -> dict[str, jax.Array]:
        def of_part(i: jax.Array, part: Batch) -> dict[str, jax.Array]:
            return task.vectors(run_views(model, params, part, (task,), jax.random.fold_in(rng, i))[names.PLAIN])

        return by_parts(of_part, batch, parts, images_in(batch))

    def whole(params: Any, batch: Batch, scales: dict[str, jax.Array], rng: jax.Array) -> Any:
        rows = {name: x for name, x in batch.items() if name not in task.of_the_batch}
        images = images_in(batch)
        found = vectors_of(params, rows, rng)
        loss, asked = jax.value_and_grad(task.loss_of)(found, batch)
        asked = {name: x if x.ndim else jnp.full(images, x / images) for name, x in asked.items()}
        asked[_LOSS] = jnp.full(images, loss / images)
        (value, sums), grads = grad_function(params, rows | {_PART + name: x for name, x in asked.items()}, scales, rng)
        return (value, sums | task.metrics_of(found, batch)), grads

    return whole
