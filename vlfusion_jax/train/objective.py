"""Many tasks as one objective: Σ λ_t(step) · sum_t / Σ weight_t."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.output import FusionOutput, Texts, of_texts
from vlfusion_jax.optim.schedules import piecewise_linear
from vlfusion_jax.tasks.task import Batch, Metrics, Task

# Inputs of the model with a row for each text, but for those of one head, such as its positions. In an order: that of
# a set is another in each process, and hosts must trace one program.
_OF_TEXTS = (names.TEXT, names.mask_of(names.TEXT), names.types_of(names.TEXT))
Sums = dict[str, tuple[jax.Array, jax.Array]]
Objective = Callable[[Any, Batch, dict[str, jax.Array], jax.Array], tuple[jax.Array, Sums]]


def view_inputs(batch: Batch, view: str) -> dict[str, jax.Array]:
    """The model's inputs for one view: the image and that view's entries under their bare names."""
    prefix = names.key(view, "")
    inputs = {name.removeprefix(prefix): value for name, value in batch.items() if name.startswith(prefix)}
    return inputs | {names.IMAGE: batch[names.IMAGE], names.IMAGE_MASK: batch[names.IMAGE_MASK]}


def together(reads: Mapping[str, tuple[int, bool]]) -> list[tuple[str, ...]]:
    """Keys of {key: (padded length of its texts, whether cells of its image are hidden)} in groups of the same.

    A model reads the texts of a group side by side.
    """
    return [tuple(key for key in reads if reads[key] == read) for read in dict.fromkeys(reads.values())]


def run_views(
    model: FusionModel, params: Any, batch: Batch, tasks: Sequence[Task], rng: jax.Array | None
) -> dict[str, FusionOutput]:
    """The model's outputs by view, with dropout where `rng` is given.

    Views of whole images whose texts are equally long are texts of the same images: the model runs once for them all,
    which encodes an image once, and sums the gradient of a parameter once over the devices.
    """
    outputs = {}
    lengths = {task.view: batch[names.key(task.view, names.TEXT)].shape[1] for task in tasks}
    reads = {view: (length, names.key(view, names.HIDDEN) in batch) for view, length in lengths.items()}
    for i, views in enumerate(together(reads)):
        inputs, texts = _side_by_side([view_inputs(batch, view) for view in views])
        of_view = dict(zip(views, texts, strict=True))
        of_head = {task.name: of_view[task.view] for task in tasks if task.view in views}
        rngs = None if rng is None else {names.DROPOUT: jax.random.fold_in(rng, i)}
        output = model.apply(
            {"params": params}, inputs, tuple(of_head), train=rng is not None, rngs=rngs, texts=of_head
        )
        for view in views:
            outputs[view] = of_texts(output.replace(logits={}), of_view[view]).replace(logits=output.logits)
    return outputs


def _side_by_side(views: Sequence[Mapping[str, jax.Array]]) -> tuple[dict[str, jax.Array], list[Texts]]:
    """The inputs of all views as texts of the same images, and which of these belong to each view."""
    images = len(views[0][names.IMAGE])
    counts = [len(view[names.TEXT]) // images for view in views]
    of, inputs = sum(counts), {name: value for view in views for name, value in view.items()}
    for name in [name for name in _OF_TEXTS if name in inputs]:
        parts = [view[name].reshape(images, count, -1) for view, count in zip(views, counts, strict=True)]
        inputs[name] = jnp.concatenate(parts, axis=1).reshape(images * of, -1)
    return inputs, [Texts(sum(counts[:i]), count, of, images * of) for i, count in enumerate(counts)]


def sums_of(tasks: Sequence[Task], outputs: dict[str, FusionOutput], batch: Batch) -> Sums:
    """{name: (sum, weight)} of every loss (`mlm_loss`) and metric."""
    sums: Metrics = {}
    for task in tasks:
        output = outputs[task.view]
        sums[f"{task.name}_loss"] = (task.loss(output, batch), task.weight(batch))
        sums |= task.metrics(output, batch)
    return sums


def task_scales(tasks: Sequence[Task], config: Any) -> Callable[[Batch, jax.Array], dict[str, jax.Array]]:
    """Function (whole batch, step) → {task: λ_t(step) / Σ weight_t}: what each sum is multiplied with."""
    factors = {task.name: piecewise_linear(config.tasks[task.name].schedule) for task in tasks}
    weights = {task.name: config.tasks[task.name].weight for task in tasks}

    def scales(batch: Batch, step: jax.Array) -> dict[str, jax.Array]:
        # A task without items has a sum of zero; the floor only keeps 0 / 0 out.
        return {
            task.name: weights[task.name] * factors[task.name](step) / jnp.maximum(task.weight(batch), 1e-6)
            for task in tasks
        }

    return scales


def make_objective(model: FusionModel, tasks: Sequence[Task]) -> Objective:
    """Function (params, batch or part of it, scales, rng) → (its share of the objective, sums as in `sums_of`)."""

    def objective(params: Any, batch: Batch, scales: dict, rng: jax.Array) -> tuple[jax.Array, Sums]:
        sums = sums_of(tasks, run_views(model, params, batch, tasks, rng), batch)
        return sum(scales[task.name] * sums[f"{task.name}_loss"][0] for task in tasks), sums

    return objective
