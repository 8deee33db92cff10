"""What an update computes: its passes over the model, and their FLOPs."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from vlfusion_jax.config.views import views_of
from vlfusion_jax.core import names
from vlfusion_jax.data.layout import layout_of
from vlfusion_jax.data.masking import max_predictions
from vlfusion_jax.models.families.table import text_lengths
from vlfusion_jax.models.flops import part_flops
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.streams import IMAGE, TARGET, TEXT
from vlfusion_jax.models.steps import streams_alone, updated_streams
from vlfusion_jax.train.views import together

_PAIRS = 3  # of each image under `names.HARD`


class Pass(NamedTuple):
    """A pass over the model; `train.views` makes them.

    Attributes:
      heads: that are applied.
      text_tokens, target_tokens: padded lengths of what is read and of what is written; 0 = nothing is.
      texts: of an image, which share it.
      rows: of an image, where pairs are made; else `texts`.
      images: of a text, 2 under `names.STATEMENT`.
      parts: what runs of the model, as `models.flops.part_flops` names it, but for heads.
    """

    heads: tuple[str, ...]
    text_tokens: int
    target_tokens: int
    texts: int
    rows: int
    images: int
    parts: frozenset[str]


def passes(config: Any, spec: ModelSpec) -> Iterator[Pass]:
    """The passes of an update of a run."""
    views, data = views_of(config.tasks), config.data
    lengths = {view: text_lengths(data)[task] for task, view in views.items()}
    pairs = lengths.pop(names.HARD, 0)
    if pairs:
        lengths[names.PLAIN] = pairs
    alone, seen = set(streams_alone(spec)), False
    for group in together(lengths):
        texts = sum(data.questions_per_image if view in names.ASKING else 1 for view in group)
        streams = _streams(spec)
        if group == (names.PLAIN,):
            streams = streams & alone or streams
        text, target = lengths[group[0]], 0
        if group == (names.WRITTEN,) and spec.writes_into(names.CAPTION) == TARGET:
            text, target, streams = 0, text, frozenset({IMAGE, TARGET})
        elif group == (names.ANSWERED,):
            target = data.answer_length
        else:
            streams -= {TARGET}
        if seen and IMAGE in alone and group != (names.MASKED_IMAGE,):
            streams -= {IMAGE}
        seen = True
        heads = (names.CONTRASTIVE,) if group == (names.PLAIN,) else _heads(views, group)
        images = 2 if names.STATEMENT in group else 1
        yield Pass(heads, text, target, texts, texts, images, _parts(spec, streams))
    if pairs:
        heads = _heads(views, (names.HARD,))
        yield Pass(heads, pairs, 0, 1, _PAIRS, 1, _parts(spec, _streams(spec) - alone - {TARGET}))


def _heads(views: dict[str, str], group: tuple[str, ...]) -> tuple[str, ...]:
    """Of the tasks that read a view of `group`: of the same name, where they have one."""
    return tuple(task for task, view in views.items() if view in group and task != names.WPA)


def _streams(spec: ModelSpec) -> frozenset[str]:
    return frozenset({s for step in spec.steps for s in updated_streams(step)} | {TEXT, IMAGE})


def _parts(spec: ModelSpec, streams: frozenset[str]) -> frozenset[str]:
    inputs = {each.stream for each in spec.inputs if each.stream in streams}
    steps = {getattr(step, "name", "") for step in spec.steps if set(updated_streams(step)) & streams}
    return frozenset(inputs | steps | {f"{pool.stream}_pooler" for pool in spec.pools if pool.stream in streams})


def update_flops(config: Any, spec: ModelSpec) -> int:
    """FLOPs of an update, padding included: forward, twice that backward, and what a momentum encoder encodes.

    Where one task is drawn for each update, their mean.
    """
    tasks = list(views_of(config.tasks))
    if config.tasks.combine == "sample":
        weights = {task: config.tasks[task].weight for task in tasks}
        of_tasks = sum(weights[task] * _forward_flops(_alone(config, task), spec) for task in tasks)
        forward = of_tasks / sum(weights.values())
    else:
        forward = _forward_flops(config, spec)
    teacher = _forward_flops(_alone(config, names.ITC), spec) if config.tasks.itc.momentum else 0
    return round(3 * forward + teacher)


def _alone(config: Any, task: str) -> Any:
    """The same run of one task."""
    alone = config.copy_and_resolve_references()
    for other in names.TASKS:
        alone.tasks[other].weight = float(other == task)
    return alone


def _forward_flops(config: Any, spec: ModelSpec) -> float:
    return sum(_pass_flops(config, spec, each) for each in passes(config, spec))


def _pass_flops(config: Any, spec: ModelSpec, each: Pass) -> float:
    hides = names.MRM in each.heads  # which has a pass of its own
    room = max_predictions(config.tasks.mlm.rate, config.data.caption_length)
    predictions = layout_of(config).hidden_room if hides else room
    found = part_flops(spec, each.text_tokens, each.heads, predictions, each.texts, each.target_tokens, each.images)
    total = each.rows * sum(flops for part, flops in found.items() if part in each.parts or part == "combine")
    for head in each.heads:
        rows = config.data.questions_per_image if head in (names.VQA, names.ANSWER) else each.rows // each.texts
        total += rows * found[names.HEAD + head]
    return config.train.batch_size * total
