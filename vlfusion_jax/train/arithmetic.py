"""What an update computes: its passes over the model, and their FLOPs."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from vlfusion_jax.config.views import views_of
from vlfusion_jax.core import names
from vlfusion_jax.data.examples import layout_of
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
      tasks: whose heads are applied.
      text_tokens, target_tokens: padded lengths of what is read and of what is written; 0 = nothing is.
      texts: of an image, which share it.
      rows: of an image, where pairs are made; else `texts`.
      parts: what runs of the model, as `models.flops.part_flops` names it, but for heads.
    """

    tasks: tuple[str, ...]
    text_tokens: int
    target_tokens: int
    texts: int
    rows: int
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
        texts = sum(data.questions_per_image if view == names.QUESTION else 1 for view in group)
        streams = _streams(spec)
        if group == (names.PLAIN,):
            streams = streams & alone or streams
        elif group == (names.WRITTEN,):
            streams = frozenset({IMAGE, TARGET})
        if group != (names.WRITTEN,):
            streams -= {TARGET}
        if seen and IMAGE in alone and group != (names.MASKED_IMAGE,):
            streams -= {IMAGE}
        seen, length = True, lengths[group[0]]
        tasks = tuple(task for task, view in views.items() if view in group)
        written = group == (names.WRITTEN,)
        yield Pass(tasks, 0 if written else length, length * written, texts, texts, _parts(spec, streams))
    if pairs:
        tasks = tuple(task for task, view in views.items() if view == names.HARD)
        yield Pass(tasks, pairs, 0, 1, _PAIRS, _parts(spec, _streams(spec) - alone - {TARGET}))


def _streams(spec: ModelSpec) -> frozenset[str]:
    return frozenset({s for step in spec.steps for s in updated_streams(step)} | {TEXT, IMAGE})


def _parts(spec: ModelSpec, streams: frozenset[str]) -> frozenset[str]:
    inputs = {each.stream for each in spec.inputs if each.stream in streams}
    steps = {getattr(step, "name", "") for step in spec.steps if set(updated_streams(step)) & streams}
    return frozenset(inputs | steps | {f"{pool.stream}_pooler" for pool in spec.pools if pool.stream in streams})


def forward_flops(config: Any, spec: ModelSpec) -> int:
    """Forward FLOPs of a training batch, padding included."""
    predictions = {names.MLM: max_predictions(config.tasks.mlm.rate, config.data.caption_length)}
    if config.tasks.mrm.weight > 0:
        predictions[names.MRM] = layout_of(config).hidden_room
    heads = {names.ITC: (names.CONTRASTIVE,), names.WPA: ()}  # the others have the name of their task
    total = 0.0
    for each in passes(config, spec):
        found = part_flops(spec, each.text_tokens, (), 0, each.texts, each.target_tokens)
        total += each.rows * sum(flops for part, flops in found.items() if part in each.parts or part == "combine")
        for task in each.tasks:
            own = heads.get(task, (task,))
            found = part_flops(spec, each.text_tokens, own, predictions.get(task, 0), each.texts, each.target_tokens)
            rows = config.data.questions_per_image if task == names.VQA else each.rows if each.rows > each.texts else 1
            total += rows * sum(found[names.HEAD + head] for head in own)
    return round(config.train.batch_size * total)
