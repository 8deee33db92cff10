"""The model on the views of a batch: each view's texts with their images, in as few passes as there are lengths."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.core.rng import number
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.output import FusionOutput, Texts, of_texts
from vlfusion_jax.models.spec.streams import IMAGE
from vlfusion_jax.models.steps import streams_alone
from vlfusion_jax.ops.contrastive import hard_negatives, other_pairs, same_pairs
from vlfusion_jax.ops.masks import order_of
from vlfusion_jax.tasks.task import Batch, Task

# Inputs of the model with a row for each text, but for those of one head, such as its positions. In an order: that of
# a set is another in each process, and hosts must trace one program.
_OF_TEXTS = (names.TEXT, names.mask_of(names.TEXT), names.types_of(names.TEXT))
_EVALUATION = 0  # seed of the draws of an evaluation


def view_inputs(batch: Batch, view: str) -> dict[str, jax.Array]:
    """The model's inputs for one view: what is shown of the images, and that view's entries under their bare names."""
    prefix = names.key(view, "")
    inputs = {name.removeprefix(prefix): value for name, value in batch.items() if name.startswith(prefix)}
    return inputs | {name: batch[name] for name in names.SHOWN if name in batch}


def images_in(batch: Batch) -> int:
    """How many images a batch shows."""
    return next(len(batch[name]) for name in names.SHOWN if name in batch)


def together(lengths: Mapping[str, int]) -> list[tuple[str, ...]]:
    """Views of {view: padded length of its texts} in groups that a model reads side by side, in the order to run in.

    Those of one length are together, but for captions that are compared before anything is fused, which come first,
    those with a text to be written, and those of which cells of the image are hidden.
    """
    before, behind = (names.PLAIN,), (names.WRITTEN, names.ANSWERED, names.MASKED_IMAGE)
    read = {view: length for view, length in lengths.items() if view not in before + behind}
    groups = [tuple(view for view in read if read[view] == length) for length in dict.fromkeys(read.values())]
    first, last = ([(view,) for view in views if view in lengths] for views in (before, behind))
    return first + groups + last


def run_views(
    model: FusionModel, params: Any, batch: Batch, tasks: Sequence[Task], rng: jax.Array | None
) -> dict[str, FusionOutput]:
    """The model's outputs by view, with dropout where `rng` is given.

    Views whose texts are equally long are texts of the same images: the model runs once for them all, which encodes an
    image once, and sums the gradient of a parameter once over the devices. A model that encodes an image without the
    text does so once for all views that show it whole.
    """
    outputs: dict[str, FusionOutput] = {}
    heads = {task.view: () for task in tasks} | ({names.PLAIN: ()} if _makes_pairs(tasks) else {})
    for task in tasks:
        heads[task.view] += task.heads
    pairs = heads.pop(names.HARD, ())
    if _makes_pairs(tasks) and names.CONTRASTIVE not in heads[names.PLAIN]:
        heads[names.PLAIN] += (names.CONTRASTIVE,)
    given: dict[str, Any] = {}
    for views in together({view: _length(batch, view) for view in heads}):
        inputs, texts = _side_by_side([view_inputs(batch, view) for view in views])
        inputs = _to_be_written(model, inputs) if views == (names.WRITTEN,) else inputs
        of_view = dict(zip(views, texts, strict=True))
        of_head = {head: of_view[view] for view in views for head in heads[view]}
        shown = {} if names.HIDDEN in inputs else given
        output = _apply(model, params, inputs, of_head, rng, views, shown)
        if names.HIDDEN not in inputs and IMAGE in streams_alone(model.spec):
            given = {IMAGE: output.unfused[IMAGE]}
        for view in views:
            outputs[view] = of_texts(output.replace(logits={}), of_view[view]).replace(logits=output.logits)
    if _makes_pairs(tasks):
        inputs, given = _hard_pairs(outputs[names.PLAIN], batch, rng)
        outputs[names.HARD] = _apply(model, params, inputs, dict.fromkeys(pairs), rng, (names.HARD,), given)
    return outputs


def heads_of(tasks: Sequence[Task]) -> tuple[str, ...]:
    """Heads of the model that the tasks need, each once."""
    every = [head for task in tasks for head in task.heads]
    return tuple(dict.fromkeys(every + [names.CONTRASTIVE] * _makes_pairs(tasks)))


def _makes_pairs(tasks: Sequence[Task]) -> bool:
    return any(task.view == names.HARD for task in tasks)


def _to_be_written(model: FusionModel, inputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """The inputs of `names.WRITTEN` as the model reads them: text behind an image, where it has no decoder."""
    if model.spec.writes_into(names.CAPTION) == names.TARGET:
        return inputs
    written = {names.TEXT: inputs.pop(names.TARGET), names.TEXT_MASK: order_of(inputs.pop(names.mask_of(names.TARGET)))}
    return inputs | written


def _length(batch: Batch, view: str) -> int:
    return batch[names.key(view, names.TARGET if view == names.WRITTEN else names.TEXT)].shape[1]


def _apply(
    model: FusionModel,
    params: Any,
    inputs: Mapping[str, jax.Array],
    of_head: Mapping[str, Texts | None],
    rng: jax.Array | None,
    views: tuple[str, ...],
    given: Mapping[str, Any],
) -> FusionOutput:
    # Dropout of a view depends on those alone that it is read beside, and on the first where an image is encoded once.
    rngs = None if rng is None else {names.DROPOUT: jax.random.fold_in(rng, number(",".join(views)))}
    texts = {head: texts for head, texts in of_head.items() if texts is not None}
    return model.apply(
        {"params": params}, inputs, tuple(of_head), train=rng is not None, rngs=rngs, texts=texts, given=given
    )


def _side_by_side(views: Sequence[Mapping[str, jax.Array]]) -> tuple[dict[str, jax.Array], list[Texts | None]]:
    """The inputs of all views as texts of the same images, and which of these belong to each view."""
    inputs = {name: value for view in views for name, value in view.items()}
    if names.TEXT not in inputs:
        return inputs, [None] * len(views)
    records = min(images_in(inputs), len(views[0][names.TEXT]))  # of a pair one text, two images
    counts = [len(view[names.TEXT]) // records for view in views]
    of = sum(counts)
    for name in [name for name in _OF_TEXTS if name in inputs]:
        parts = [view[name].reshape(records, count, -1) for view, count in zip(views, counts, strict=True)]
        inputs[name] = jnp.concatenate(parts, axis=1).reshape(records * of, -1)
    return inputs, [Texts(sum(counts[:i]), count, of, records * of) for i, count in enumerate(counts)]


def _hard_pairs(
    plain: FusionOutput, batch: Batch, rng: jax.Array | None
) -> tuple[dict[str, jax.Array], dict[str, Any]]:
    """Inputs and given streams of the pairs of `names.HARD`, by the similarities of a batch's texts and images.

    What a model encodes before it fuses is chosen from; the rest it reads anew. A pair for which there is nothing else
    in the batch is repeated, see `tasks.itm.pair_weights`.
    """
    inputs = view_inputs(batch, names.PLAIN)
    valid = inputs[names.CAPTION_WEIGHT]
    others = other_pairs(same_pairs(inputs[names.RECORD], inputs[names.TEXT], valid), valid)
    logits, own = plain.logits[names.CONTRASTIVE]["logits"], jnp.arange(len(valid))
    key = jax.random.key(_EVALUATION) if rng is None else jax.random.fold_in(rng, number(names.NEGATIVES))
    of_text, of_image = jax.random.split(key)
    images = jnp.concatenate([own, own, hard_negatives(logits, others, of_image)])
    texts = jnp.concatenate([own, hard_negatives(logits.T, others, of_text), own])
    rows = {names.TEXT: texts, names.IMAGE: images}
    given = {stream: jax.tree.map(lambda x, r=rows[stream]: x[r], pair) for stream, pair in plain.unfused.items()}
    read = {
        name: inputs[name][texts if name in _OF_TEXTS else images]
        for name in (*_OF_TEXTS, *names.SHOWN)
        if name in inputs
    }
    return read, given
