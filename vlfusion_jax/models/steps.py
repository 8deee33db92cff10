"""The steps of a model other than Transformer stages, as modules."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.core.partitioned import with_axes
from vlfusion_jax.layers.block import CROSS, Stage
from vlfusion_jax.layers.dropout import Dropout
from vlfusion_jax.layers.norm import LayerNorm
from vlfusion_jax.layers.projection import Projection
from vlfusion_jax.models.inputs import with_modality
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.steps import Add, Bridge, Join, Recurrent, Step, Transform
from vlfusion_jax.models.spec.streams import IMAGE, JOINT, TARGET, TEXT


class Transformed(nn.Module):
    """A `Transform`: [rows, tokens, any width] → [rows, tokens, width]."""

    spec: Transform
    train: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, modality: jax.Array | None, chosen: jax.Array | None = None) -> jax.Array:
        """`modality` [rows of the table, width]; `chosen` [rows of x], see `Transform.by_image`."""
        spec = self.spec
        if spec.norm_in is not None:
            x = LayerNorm(spec.norm_in, self.dtype, name="norm_in")(x)
        if spec.width:
            x = Projection(
                "btd,de->bte", (x.shape[-1], spec.width), (names.PIXELS, names.EMBED),
                (spec.width,), (names.EMBED,), dtype=self.dtype, name="projection",
            )(x)  # fmt: skip
        x = with_modality(x, modality, spec.modality, chosen)
        if spec.norm_out is not None:
            x = LayerNorm(spec.norm_out, self.dtype, name="norm_out")(x)
        return Dropout(spec.dropout, self.train)(x)


class Bridged(nn.Module):
    """A `Bridge`: two streams of one shape to one."""

    spec: Bridge
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, source: jax.Array, target: jax.Array) -> jax.Array:
        if self.spec.how == "scaled_add":
            source = source * self._scalar("scale", 1.0)
        elif self.spec.how == "interpolate":
            share = self._scalar("share", 0.5)
            source, target = source * (1 - share), target * share
        return LayerNorm(self.spec.epsilon, self.dtype, name="norm")(source + target)

    def _scalar(self, name: str, value: float) -> jax.Array:
        return self.param(name, with_axes(nn.initializers.constant(value)), (), jnp.float32).astype(self.dtype)


def repeat_rows(streams: dict[str, jax.Array], masks: dict[str, jax.Array], wanted: tuple[str, ...], rows: int) -> None:
    """Repeats, in place, the streams `wanted` that are shared by several rows until each row has its own."""
    for stream in wanted:
        share = rows // streams[stream].shape[0]
        if share > 1:
            streams[stream] = jnp.repeat(streams[stream], share, axis=0)
            masks[stream] = jnp.repeat(masks[stream], share, axis=0)


def end_to_end(streams: dict[str, jax.Array], masks: dict[str, jax.Array], stream: str, rows: int) -> None:
    """Lays, in place, the tokens of consecutive rows of `stream` end to end, so that it has as few as `rows`."""
    if len(streams[stream]) > rows:
        streams[stream] = streams[stream].reshape(rows, -1, streams[stream].shape[-1])
        masks[stream] = masks[stream].reshape(rows, -1)


def pad_tokens(x: jax.Array, multiple: int) -> jax.Array:
    """[rows, tokens, ...] with zeros behind the tokens, until their number divides by `multiple`."""
    missing = -x.shape[1] % multiple
    return jnp.pad(x, [(0, 0), (0, missing)] + [(0, 0)] * (x.ndim - 2)) if missing else x


def updated_streams(step: Step) -> tuple[str, ...]:
    """Streams that a step makes or changes."""
    if isinstance(step, Stage):
        return step.streams + ((step.bottleneck,) if step.bottleneck else ())
    if isinstance(step, Join):
        return (JOINT,)
    return (step.stream,) if isinstance(step, Recurrent) else (step.target,)


def streams_alone(spec: ModelSpec) -> tuple[str, ...]:
    """Streams of inputs that no step mixes with another, so that they can be encoded once for many pairs.

    A stream that others read before its last step is none of them, nor are text and image of a joint stream.
    """
    mixed, read = set(), set()
    for step in spec.steps:
        for stream in updated_streams(step):
            others = _sources(step, stream) - {stream}
            if others or stream in read:
                mixed.add(stream)
            read |= others
    if JOINT in mixed:
        return ()
    return tuple(each.stream for each in spec.inputs if each.stream not in (*mixed, TARGET))


def stream_widths(spec: ModelSpec) -> dict[str, int]:
    """How wide the tokens of each stream are in the end."""
    widths = {each.stream: each.width for each in spec.inputs}
    for step in spec.steps:
        if isinstance(step, Transform):
            widths[step.target] = step.width or widths[step.source]
        elif isinstance(step, Recurrent):
            widths[step.stream] = (1 + step.bidirectional) * step.width
        elif isinstance(step, Join):
            widths[JOINT] = widths[TEXT]
    return widths


def read_streams(step: Step) -> set[str]:
    """Streams that there must be for a step."""
    if isinstance(step, Stage):
        return {*updated_streams(step), *step.context}
    return set().union(*(_sources(step, stream) for stream in updated_streams(step)))


def _sources(step: Step, stream: str) -> set[str]:
    """Streams that the new values of `stream` follow from."""
    if isinstance(step, Stage):
        if step.bottleneck:
            return {*step.streams, step.bottleneck}
        crosses = CROSS in step.sublayers and stream not in step.alone
        return {stream, *((step.context or step.streams) if crosses else ())}
    if isinstance(step, Join):
        return {TEXT, IMAGE}
    if isinstance(step, Recurrent):
        return {stream}
    return {step.source, stream} if isinstance(step, Add | Bridge) else {step.source}
