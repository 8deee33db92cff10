"""A momentum encoder with a queue (MoCo, He et al. 2020; ALBEF, Li et al. 2021, section 3.2), around the update.

It keeps an average of the parameters, whose vectors of text and image are what the contrast compares with, and those of
the batches before. All of it is in the train state, and so in every checkpoint.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.inputs import input_shapes
from vlfusion_jax.optim.schedules import piecewise_linear
from vlfusion_jax.tasks.task import Batch, Task
from vlfusion_jax.train.accumulate import by_parts
from vlfusion_jax.train.state import TrainState
from vlfusion_jax.train.step import TrainStep
from vlfusion_jax.train.views import view_inputs

PARAMS, QUEUE = "momentum", "queue"
_EMPTY = -1  # record of a place in the queue that holds nothing yet


def is_on(config: Any) -> bool:
    """Whether a run of `config` has a momentum encoder."""
    return config.tasks.itc.momentum > 0


def started(config: Any, model: FusionModel, params: Any) -> dict[str, Any]:
    """Extras of a state that begins: the average is the parameters, the queue is empty.

    `queue` has `text` and `image`, each [length, width] f32, `record` [length] int32, and `position`, where the next
    batch goes.
    """
    length, inputs = config.tasks.itc.queue, input_shapes(model.spec.inputs)
    apply = partial(model.apply, heads=(names.CONTRASTIVE,))
    found = jax.eval_shape(apply, {"params": params}, inputs).logits[names.CONTRASTIVE]
    queue = {name: jnp.zeros((length, found[name].shape[1]), jnp.float32) for name in (names.TEXT, names.IMAGE)}
    queue |= {names.RECORD: jnp.full(length, _EMPTY, jnp.int32), "position": jnp.zeros((), jnp.int32)}
    return {PARAMS: jax.tree.map(jnp.copy, params), QUEUE: queue}


def with_momentum(train_step: TrainStep, model: FusionModel, tasks: Sequence[Task], config: Any) -> TrainStep:
    """`train_step` on a batch that also has the averaged model's vectors, with the average and the queue moved on.

    The average takes its step before it is used, as in ALBEF. It reads without dropout, in micro-batches. A step whose
    `tasks` contrast nothing, where one is drawn for each, is given no vectors.
    """
    contrasts = any(task.name == names.ITC for task in tasks)
    itc = config.tasks.itc
    rise = piecewise_linear(((0, 0.0), (itc.soft_steps, itc.soft_share)) if itc.soft_steps else ((0, itc.soft_share),))

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        queue, rate = state.extras[QUEUE], itc.momentum
        average = jax.tree.map(lambda m, p: rate * m + (1 - rate) * p, state.extras[PARAMS], state.params)
        inputs = view_inputs(batch, names.PLAIN)

        def vectors(i: jax.Array, part: Batch) -> dict[str, jax.Array]:
            del i
            output = model.apply({"params": average}, view_inputs(part, names.PLAIN), (names.CONTRASTIVE,))
            return {name: output.logits[names.CONTRASTIVE][name] for name in (names.TEXT, names.IMAGE)}

        found = by_parts(vectors, batch, config.train.micro_batches, config.train.batch_size)
        more = {
            names.TEACHER_TEXT: found[names.TEXT],
            names.TEACHER_IMAGE: found[names.IMAGE],
            names.QUEUE_TEXT: queue[names.TEXT],
            names.QUEUE_IMAGE: queue[names.IMAGE],
            names.QUEUE_RECORD: queue[names.RECORD],
            names.SOFT_SHARE: rise(state.step),
        }
        given = {names.key(names.PLAIN, name): x for name, x in more.items()} if contrasts else {}
        new, metrics = train_step(state, batch | given)
        kept = _moved_on(queue, found, inputs) if itc.queue else queue
        return new.replace(extras=state.extras | {PARAMS: average, QUEUE: kept}), metrics

    return step


def _moved_on(queue: dict[str, jax.Array], found: dict[str, jax.Array], inputs: Batch) -> dict[str, jax.Array]:
    """The queue with the batch in place of its oldest entries; an image without a caption leaves its place empty."""
    place, count = queue["position"], len(inputs[names.RECORD])
    records = jnp.where(inputs[names.CAPTION_WEIGHT] > 0, inputs[names.RECORD], _EMPTY)
    new = {names.TEXT: found[names.TEXT], names.IMAGE: found[names.IMAGE], names.RECORD: records}
    moved = {name: jax.lax.dynamic_update_slice_in_dim(queue[name], x, place, axis=0) for name, x in new.items()}
    return moved | {"position": (place + count) % len(queue[names.RECORD])}
