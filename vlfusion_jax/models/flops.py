"""Analytic FLOPs of a model: products only, a multiply-add counts two."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from vlfusion_jax.core import names
from vlfusion_jax.layers.block import CROSS, MLP, BlockSpec, Stage
from vlfusion_jax.layers.convnet import REDUCTION
from vlfusion_jax.layers.recurrent import GATES
from vlfusion_jax.layers.regions import BOX_SIZE
from vlfusion_jax.models.spec.heads import ClassHead, ContrastiveHead, RegionHead, WordHead
from vlfusion_jax.models.spec.inputs import ImageInput, RegionInput, TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Combine, Pool
from vlfusion_jax.models.spec.steps import Add, Bridge, Join, Recurrent, Step, Transform
from vlfusion_jax.models.spec.streams import IMAGE, JOINT, POOLED, TARGET, TEXT, pooled_of
from vlfusion_jax.models.steps import updated_streams


@dataclass(frozen=True)
class _Stream:
    """Tokens, their width, and among how many rows they are shared."""

    tokens: int
    width: int
    share: int = 1


def row_flops(
    spec: ModelSpec,
    text_tokens: int,
    head: str,
    predictions: int = 0,
    texts_per_image: int = 1,
    images_per_text: int = 1,
) -> int:
    """Forward FLOPs of one text with its images, padding included; see `part_flops`."""
    parts = part_flops(spec, text_tokens, (head,), predictions, texts_per_image, images_per_text=images_per_text)
    return round(sum(parts.values()))


def part_flops(
    spec: ModelSpec,
    text_tokens: int,
    heads: tuple[str, ...],
    predictions: int = 0,
    texts_per_image: int = 1,
    target_tokens: int = 0,
    images_per_text: int = 1,
) -> dict[str, float]:
    """Forward FLOPs of one text with its images by part of the model, padding included.

    Args:
      spec: the model.
      text_tokens: padded length of the text.
      heads: that are applied; of a contrastive one the vectors are counted, not their products, of which there are as
        many for a text as the batch has images.
      predictions: masked positions a text, for a word head; hidden cells of its image, for the head `mrm`.
      texts_per_image: texts among which an image's tokens are shared: what is computed once is divided by it.
      target_tokens: padded length of the text to be generated; 0 = there is none, and nothing is done for it.
      images_per_text: images of the text, 2 of a pair.
    """
    rows, images = _rows_and_images(spec, images_per_text)
    parts: dict[str, float] = {
        each.stream: _image_flops(each) * images / texts_per_image
        for each in spec.inputs
        if isinstance(each, ImageInput | RegionInput)
    }
    streams = _inputs(spec, text_tokens, texts_per_image, target_tokens, images_per_text)
    for step in _steps(spec, target_tokens):
        streams = _before(step, streams)
        if isinstance(step, Stage):
            parts[step.name] = _stage_flops(step, streams)
        elif isinstance(step, Transform) and step.width:
            x = streams[step.source]
            parts[step.name] = parts.get(step.name, 0) + 2 * x.tokens * x.width * step.width / x.share
        elif isinstance(step, Recurrent):
            parts[step.name] = parts.get(step.name, 0) + _recurrent_flops(step, streams[step.stream])
        streams = _behind(step, streams)

    if JOINT in streams:
        streams |= {stream: replace(streams[stream], width=streams[JOINT].width) for stream in (TEXT, IMAGE)}
    widths = [_pool_width(pool, streams) for pool in spec.pools]
    if spec.pools:
        parts |= {f"{pool.stream}_pooler": _pool_flops(pool, streams) for pool in spec.pools}
        parts["combine"] = _combine_flops(spec.combine, widths)
        for pool, width in zip(spec.pools, widths, strict=True):
            streams[pooled_of(pool.stream)] = _Stream(1, width, streams[pool.stream].share)
        streams[POOLED] = _Stream(1, _fused_width(spec.combine, widths))
    for name in heads:
        parts[names.HEAD + name] = _head_flops(spec, name, streams, widths, predictions)
    return {name: rows * flops for name, flops in parts.items()}


def _rows_and_images(spec: ModelSpec, images_per_text: int) -> tuple[int, int]:
    """In how many rows a text lies with its images, and how many images are in each."""
    together = any(isinstance(step, Join) and step.together for step in spec.steps)
    return (1, images_per_text) if together else (images_per_text, 1)


@dataclass(frozen=True)
class Passing:
    """Numbers of one text and its image that pass through the sub-layers of a kind, in all layers of a stage.

    Attributes:
      part: name of the stage.
      kind: of the sub-layers.
      forward: that they give.
      backward: of which they give gradients.
    """

    part: str
    kind: str
    forward: float
    backward: float


def passing(
    spec: ModelSpec, text_tokens: int, texts_per_image: int, target_tokens: int = 0, images_per_text: int = 1
) -> list[Passing]:
    """What goes through the sub-layers of a model's stages; arguments as of `part_flops`."""
    found, streams = [], _inputs(spec, text_tokens, texts_per_image, target_tokens, images_per_text)
    rows, _ = _rows_and_images(spec, images_per_text)
    for step in _steps(spec, target_tokens):
        streams = _before(step, streams)
        if isinstance(step, Stage):
            found += [
                Passing(step.name, kind, rows * step.layers * _numbers(x), rows * step.layers * _numbers(x, *keys))
                for kind, _, x, keys in _sublayers(step, streams)
            ]
        streams = _behind(step, streams)
    return found


def _numbers(*streams: _Stream) -> float:
    return sum(each.tokens * each.width / each.share for each in streams)


def _inputs(
    spec: ModelSpec, text_tokens: int, texts_per_image: int, target_tokens: int, images_per_text: int
) -> dict[str, _Stream]:
    streams = {}
    rows, images = _rows_and_images(spec, images_per_text)
    for each in spec.inputs:
        if isinstance(each, TextInput):
            streams[each.stream] = _Stream(text_tokens if each.stream == TEXT else target_tokens, each.width, rows)
        elif isinstance(each, ImageInput | RegionInput):
            tokens = each.tokens if isinstance(each, RegionInput) else each.count
            streams[each.stream] = _Stream(images * tokens, each.width, texts_per_image)
        else:
            streams[each.stream] = _Stream(each.count, each.width)
    return streams


def _steps(spec: ModelSpec, target_tokens: int) -> list[Step]:
    return [step for step in spec.steps if target_tokens or TARGET not in updated_streams(step)]


def _before(step: Step, streams: dict[str, _Stream]) -> dict[str, _Stream]:
    """Streams as a step works on them: what a stage mixes is no longer shared."""
    if not isinstance(step, Stage):
        return streams
    updated = updated_streams(step)
    share = min(streams[s].share for s in updated + step.context)
    return streams | {s: replace(streams[s], share=share) for s in updated}


def _behind(step: Step, streams: dict[str, _Stream]) -> dict[str, _Stream]:
    """Streams as a step leaves them."""
    if isinstance(step, Join):
        text, image = streams[TEXT], streams[IMAGE]
        joint = _Stream(text.tokens + image.tokens, text.width)
        return streams | {JOINT: joint, TEXT: replace(text, share=1), IMAGE: replace(image, share=1)}
    if isinstance(step, Transform):
        x = streams[step.source]
        return streams | {step.target: replace(x, width=step.width or x.width)}
    if isinstance(step, Add):
        share = min(streams[stream].share for stream in (step.source, step.target))
        return streams | {step.target: replace(streams[step.target], share=share)}
    if isinstance(step, Bridge):
        return streams | {step.source: replace(streams[step.source], share=streams[step.target].share)}
    if isinstance(step, Recurrent):
        return streams | {step.stream: replace(streams[step.stream], width=(1 + step.bidirectional) * step.width)}
    return streams


def _recurrent_flops(step: Recurrent, x: _Stream) -> float:
    directions, total = 1 + step.bidirectional, 0.0
    for _ in range(step.layers):
        total += directions * 2 * x.tokens * GATES[step.cell] * step.width * (x.width + step.width) / x.share
        x = replace(x, width=directions * step.width)
    return total


def _image_flops(spec: ImageInput | RegionInput) -> float:
    """FLOPs to turn one image, or its regions, into tokens."""
    if isinstance(spec, RegionInput):
        return 2 * spec.tokens * spec.width * (spec.features + BOX_SIZE[spec.form])
    rows, columns = spec.cells
    if spec.tokens == "patch":
        return 2 * rows * columns * 3 * spec.patch**2 * spec.width
    if spec.tokens in _TOWER_FLOPS:
        cells = 2 * rows * columns * spec.channels[-1] * spec.width if spec.projected else 0
        return _TOWER_FLOPS[spec.tokens](spec) + cells
    total, inputs, (height, width) = 0, 3, spec.size
    for features in spec.channels:
        height, width = -(-height // 2), -(-width // 2)
        total += 2 * height * width * 9 * inputs * features
        inputs = features
    return total + 2 * rows * columns * inputs * spec.width


def _resnet_flops(spec: ImageInput) -> float:
    height, width = (-(-side // 2) for side in spec.size)
    inputs = spec.channels[0]
    total = 2 * height * width * 49 * 3 * inputs
    height, width = -(-height // 2), -(-width // 2)
    for stage, (depth, features) in enumerate(zip(spec.depths, spec.channels[1:], strict=True)):
        inner = features // REDUCTION
        for i in range(depth):
            before = height * width
            if stage and not i:
                height, width = -(-height // 2), -(-width // 2)
            area = height * width
            total += 2 * (before * inputs * inner + area * inner * (9 * inner + features))
            if before != area or inputs != features:
                total += 2 * area * inputs * features
            inputs = features
    return total


def _vgg_flops(spec: ImageInput) -> float:
    total, inputs, (height, width) = 0, 3, spec.size
    for depth, features in zip(spec.depths, spec.channels, strict=True):
        for _ in range(depth):
            total += 2 * height * width * 9 * inputs * features
            inputs = features
        height, width = height // 2, width // 2
    return total


_TOWER_FLOPS = {"resnet": _resnet_flops, "vgg": _vgg_flops}


def _attention_flops(queries: _Stream, keys: _Stream, inner: int) -> float:
    """Of one row: query and output, key and value; then scores and sums."""
    projections = 4 * queries.tokens * queries.width * inner / queries.share
    projections += 4 * keys.tokens * keys.width * inner / keys.share
    return projections + 4 * queries.tokens * keys.tokens * inner / queries.share


def _sublayers(
    stage: Stage, streams: dict[str, _Stream]
) -> Iterator[tuple[str, BlockSpec, _Stream, tuple[_Stream, ...]]]:
    """(kind, block, stream, streams that it attends to besides) of each sub-layer of a layer."""
    for i, stream in enumerate(stage.streams):
        x = streams[stream]
        if stage.bottleneck:
            x = replace(x, tokens=x.tokens + streams[stage.bottleneck].tokens)
        for kind in stage.sublayers:
            if kind == CROSS and stream in stage.alone:
                continue
            others = stage.context or tuple(s for s in stage.streams if s != stream)
            keys = [streams[o] for o in others] if kind == CROSS else []
            keys = [replace(each, share=x.share) for each in keys] if len(keys) > 1 else keys
            yield kind, stage.blocks[i if len(stage.blocks) > 1 else 0], x, tuple(keys)


def _stage_flops(stage: Stage, streams: dict[str, _Stream]) -> float:
    """Of one row."""
    total = 0.0
    for kind, block, x, keys in _sublayers(stage, streams):
        if kind == MLP:
            total += 4 * x.tokens * x.width * block.mlp_width / x.share
        elif kind == CROSS:
            inner = block.cross_width or x.width
            total += 4 * x.tokens * x.width * inner / x.share  # query and output, once
            total += sum(_keys_flops(x, each, inner) for each in keys)
        else:
            total += _attention_flops(x, x, x.width)
    return stage.layers * total


def _keys_flops(queries: _Stream, keys: _Stream, inner: int) -> float:
    share = keys.share if keys.share > queries.share else queries.share
    return 4 * keys.tokens * keys.width * inner / share + 4 * queries.tokens * keys.tokens * inner / queries.share


def _pool_width(pool: Pool, streams: dict[str, _Stream]) -> int:
    return pool.width or streams[pool.stream].width


def _pool_flops(pool: Pool, streams: dict[str, _Stream]) -> float:
    x = streams[pool.stream]
    total = 2 * x.width * pool.width
    if pool.how == "map":
        # The probe is a query for each image, its keys the image's tokens.
        total += 4 * x.width * (x.width + x.tokens * (x.width + 1) + pool.mlp_width)
    return total / x.share


def _combine_flops(combine: Combine, widths: list[int]) -> float:
    if combine.how == "attention":
        return sum(2 * width * (width + 1) for width in widths)
    if combine.how == "gated":
        return sum(2 * combine.width * (width + sum(widths)) for width in widths)
    return sum(2 * combine.width * combine.factors * width for width in widths) if combine.how == "bilinear" else 0


def _fused_width(combine: Combine, widths: list[int]) -> int:
    return combine.width or (sum(widths) if combine.how == "concat" else widths[0])


def _head_flops(spec: ModelSpec, name: str, streams: dict[str, _Stream], widths: list[int], predictions: int) -> float:
    head = spec.head(name)
    if isinstance(head, WordHead):
        tokens = streams[head.stream].tokens if head.everywhere else predictions
        words = spec.words(head)
        return tokens * 2 * words.width * (streams[head.stream].width + words.padded_vocab)
    if isinstance(head, ContrastiveHead):
        return sum(_pool_flops(pool, streams) for _, pool in head.vectors)
    if isinstance(head, RegionHead):
        x = streams[spec.image]
        tokens = predictions if name == names.MRM else x.tokens
        return 2 * tokens * x.width * (x.width + sum(size for _, size in head.outputs))
    assert isinstance(head, ClassHead)
    if head.read == "last_word":
        inputs = [streams[spec.text].width]
    elif spec.combine.how == "late":
        inputs = widths
    else:
        inputs = [_fused_width(spec.combine, widths)]
    if not head.hidden:
        return sum(2 * width * head.padded for width in inputs)
    return sum(2 * head.hidden * (width + head.padded / head.rows) for width in inputs)
