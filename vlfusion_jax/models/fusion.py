"""The fusion engine: one module that every family is a specification of."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.layers.block import Stage
from vlfusion_jax.layers.embeddings import Table
from vlfusion_jax.layers.recurrent import RecurrentStack
from vlfusion_jax.layers.stack import Stack
from vlfusion_jax.models.heads import ClassLogits, Contrast, LateLogits, RegionLogits, WordLogits
from vlfusion_jax.models.inputs import (
    ImageTokens,
    LearnedTokens,
    Regions,
    TextTokens,
    Tokens,
    hidden_tokens,
    is_there,
)
from vlfusion_jax.models.output import FusionOutput, Texts, of_texts
from vlfusion_jax.models.pooling import Combined, Pooled, pool_tokens
from vlfusion_jax.models.spec.heads import ClassHead, ContrastiveHead, RegionHead, WordHead
from vlfusion_jax.models.spec.inputs import ImageInput, Input, LearnedInput, RegionInput, TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.steps import Add, Bridge, Join, Recurrent, Transform
from vlfusion_jax.models.spec.streams import IMAGE, JOINT, POOLED, TARGET, TEXT, pooled_of
from vlfusion_jax.models.steps import (
    Bridged,
    Transformed,
    end_to_end,
    pad_tokens,
    read_streams,
    repeat_rows,
    streams_alone,
    updated_streams,
)
from vlfusion_jax.ops.cells import pick_cells
from vlfusion_jax.parallel.strategy import constrain, token_multiple, within

Streams = dict[str, jax.Array]


class FusionModel(nn.Module):
    """The inputs of `spec` as streams, its steps on them, then pools and heads.

    Deterministic in token order: text, then image tokens in raster order. Padding and the other rows of the batch
    never change a valid output.
    """

    spec: ModelSpec
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self,
        inputs: Mapping[str, jax.Array],
        heads: tuple[str, ...] = (),
        train: bool = False,
        capture: bool = False,
        encoded: FusionOutput | None = None,
        texts: Mapping[str, Texts] = MappingProxyType({}),
        given: Mapping[str, Tokens] = MappingProxyType({}),
    ) -> FusionOutput:
        """Runs the model on texts and their images.

        Args:
          inputs: what the inputs of `spec` read: `image` [images, H, W, 3] uint8 (or float in [0, 1]) and `image_mask`
            [images, H, W], or `regions` [images, r, features], `boxes` [images, r, 4] and `region_mask` [images, r];
            `text` and `text_mask` [rows, tokens] int32; `target` and `target_mask` alike; for a word head `positions`
            [rows, p] int32. `rows` is a multiple of `images`; rows i*k … i*k+k-1 read image i, which is encoded once.
            Or `images` is a multiple of the texts: images i*k … i*k+k-1 are those of text i, which has a row with each
            from where they meet, or one with all (`Join.together`).
            What is missing is left out with all that is made of it: `target`, or all but it. A word head everywhere
            takes `target_positions` [rows, p], where only some are wanted. With `target_places` [rows, tokens],
            `target` is a part of a text, and `target_mask` [rows, places] of the whole of it; see `Attention` for the
            collections it then needs. `hidden` [images, p] int32 numbers cells of the image, patches or regions, that
            the model does not see, -1 = none; each image then has one text, and region heads predict these cells.
          heads: names of the heads to apply.
          train: apply dropout, from the `dropout` rng.
          capture: also return hidden states and attention weights.
          encoded: output of a call without `target`, from which text and image are taken: only `target` is read and
            worked on. Rows i*k … i*k+k-1 of it belong to row i of that call.
          texts: {head: those that it is applied to, and whose `positions` it is given}; by default all.
          given: {stream: (tokens, mask)} of `FusionOutput.unfused`, rows of which may be chosen anew: what made them is
            left out, and their inputs with it. Texts are as many as images, or a multiple, as ever.
        """
        spec = self.spec

        def is_wanted(stream: str) -> bool:
            return names.TARGET in inputs if stream == TARGET else encoded is None and stream not in given

        read = [each for each in spec.inputs if is_wanted(each.stream) and is_there(each, inputs)]
        streams, masks, sources = self._embed(inputs, train, read)
        embedded = dict(streams) if capture else {}
        if encoded is not None:
            both = {spec.text: (encoded.text, encoded.text_mask), spec.image: (encoded.image, encoded.image_mask)}
            given = {stream: pair for stream, pair in both.items() if pair[0] is not None}
        streams |= {stream: x for stream, (x, _) in given.items()}
        masks |= {stream: mask for stream, (_, mask) in given.items()}
        hidden, attention, made = {}, {}, {}
        for step in spec.steps:
            if not any(map(is_wanted, updated_streams(step))) or not streams.keys() >= read_streams(step):
                continue
            if isinstance(step, Stage):
                places = inputs.get(names.TARGET_PLACES) if step.streams == (TARGET,) else None
                captured = self._stage(step, streams, masks, places, train, capture)
                hidden[step.name], attention[step.name] = captured.get("hidden", {}), captured.get("attention", {})
            elif isinstance(step, Join):
                if step.together:
                    end_to_end(streams, masks, IMAGE, len(streams[TEXT]))
                rows = max(len(streams[s]) for s in (TEXT, IMAGE))
                repeat_rows(streams, masks, (TEXT, IMAGE), rows)
                streams[JOINT] = jnp.concatenate([streams[TEXT], streams[IMAGE]], axis=1)
                masks[JOINT] = jnp.concatenate([masks[TEXT], masks[IMAGE]], axis=1)
            elif isinstance(step, Add):
                repeat_rows(streams, masks, (step.target,), len(streams[step.source]))
                mean = pool_tokens(streams[step.source], masks[step.source], "mean")
                share = len(streams[step.target]) // len(mean)
                streams[step.target] = streams[step.target] + jnp.repeat(mean, share, axis=0)[:, None]
            elif isinstance(step, Transform):
                if step.name not in made:
                    made[step.name] = Transformed(step, train, self.dtype, name=step.name)
                chosen = inputs.get(names.IMAGE_MODALITY) if step.by_image else None
                streams[step.target] = made[step.name](streams[step.source], sources.get("modality"), chosen)
                masks[step.target] = masks[step.source]
            elif isinstance(step, Bridge):
                repeat_rows(streams, masks, (step.source,), len(streams[step.target]))
                bridge = Bridged(step, self.dtype, name=step.name)
                streams[step.target] = bridge(streams[step.source], streams[step.target])
            else:
                assert isinstance(step, Recurrent), step
                recurrent = RecurrentStack(
                    step.cell, step.width, step.layers, step.bidirectional, self.dtype, name=step.name
                )
                streams[step.stream] = recurrent(streams[step.stream], masks[step.stream])

        if JOINT in streams:
            length = streams[TEXT].shape[1]
            streams |= {TEXT: streams[JOINT][:, :length], IMAGE: streams[JOINT][:, length:]}
        pooled = self._pool(streams, masks) if encoded is None else encoded.pooled
        return FusionOutput(
            text=streams.get(spec.text),
            image=streams.get(spec.image),
            text_mask=masks.get(spec.text),
            image_mask=masks.get(spec.image),
            pooled=pooled,
            logits={
                name: self._head(
                    name,
                    inputs,
                    *of_texts((streams, masks), texts.get(name)),
                    sources,
                    of_texts(pooled, texts.get(name)),
                )
                for name in heads
            },
            streams={name: x for name, x in streams.items() if name not in (spec.text, spec.image, JOINT)},
            unfused={s: (streams[s], masks[s]) for s in streams_alone(spec) if s in streams and encoded is None},
            embedded=embedded,
            hidden=hidden if capture else {},
            attention=attention if capture else {},
        )

    def _embed(
        self, inputs: Mapping[str, jax.Array], train: bool, specs: Sequence[Input]
    ) -> tuple[Streams, Streams, dict[str, Any]]:
        """Streams, their masks, and what later parts read of the inputs: text modules, the modality table."""
        streams, masks, sources = {}, {}, {}
        if self.spec.modalities:
            width = self.spec.modality_width
            sources["modality"] = Table(self.spec.modalities, width, names.TYPES, self.dtype, name="modality")()
        modality = sources.get("modality")
        for spec in specs:
            with within(spec.stream):
                if isinstance(spec, TextInput):
                    module = sources[spec.stream] = TextTokens(spec, train, self.dtype, name=spec.stream)
                    x, mask = module(inputs, modality)
                elif isinstance(spec, ImageInput):
                    x, mask = ImageTokens(spec, train, self.dtype, name=spec.stream)(inputs, modality)
                elif isinstance(spec, RegionInput):
                    of_text = sources[TEXT].for_regions(spec.form, inputs)
                    x, mask = Regions(spec, train, self.dtype, name=spec.stream)(inputs, of_text)
                else:
                    x, mask = LearnedTokens(spec, self.dtype, name=spec.stream)()
                if not isinstance(spec, LearnedInput):  # which is one row until a batch repeats it
                    x = constrain(x, names.BATCH, names.SEQUENCE, names.EMBED_ACTIVATION)
            streams[spec.stream], masks[spec.stream] = x, mask
        return streams, masks, sources

    def _stage(
        self, stage: Stage, streams: Streams, masks: Streams, places: jax.Array | None, train: bool, capture: bool
    ) -> dict:
        """Runs a stage on the streams, in place; returns what was captured."""
        updated = updated_streams(stage)
        present = tuple(dict.fromkeys(updated + stage.context))
        repeat_rows(streams, masks, updated, max(len(streams[s]) for s in present))
        read, read_masks = ({s: x[s] for s in present} for x in (streams, masks))
        if len(stage.context) > 1:  # laid end to end, so of as many rows
            repeat_rows(read, read_masks, stage.context, len(streams[updated[0]]))
        stack = Stack(stage, self.spec.scan, self.spec.remat, train, capture, self.dtype, name=stage.name)
        with within(stage.name):
            # What is captured has no padding, nor has what is cached.
            multiple = 1 if capture or places is not None else token_multiple()
            padded, padded_masks = ({s: pad_tokens(x[s], multiple) for s in present} for x in (read, read_masks))
            new, captured = stack(padded, padded_masks, places)
        streams.update({s: new[s][:, : streams[s].shape[1]] for s in updated})
        return captured

    def _pool(self, streams: Streams, masks: Streams) -> jax.Array | tuple[jax.Array, ...] | None:
        """The fused vector; it and each pooled one become streams too, of one token, in place."""
        if not all(pool.stream in streams for pool in self.spec.pools):
            return None
        vectors = [
            Pooled(pool, self.dtype, name=f"{pool.stream}_pooler")(streams[pool.stream], masks[pool.stream])
            for pool in self.spec.pools
        ]
        if not vectors:
            return None
        own = {pooled_of(pool.stream): x for pool, x in zip(self.spec.pools, vectors, strict=True)}
        rows = max(map(len, vectors))
        vectors = [jnp.repeat(x, rows // len(x), axis=0) if len(x) < rows else x for x in vectors]
        if self.spec.combine.how == "late":
            fused = tuple(vectors)
        else:
            fused = own[POOLED] = Combined(self.spec.combine, self.dtype, name="combine")(vectors)
        streams |= {name: x[:, None] for name, x in own.items()}
        masks |= {name: jnp.ones((len(x), 1), jnp.int32) for name, x in own.items()}
        return fused

    def _head(
        self, name: str, inputs: Mapping, streams: Streams, masks: Streams, sources: dict[str, Any], pooled: Any
    ) -> jax.Array | dict[str, jax.Array]:
        spec, module_name = self.spec.head(name), names.HEAD + name
        if isinstance(spec, WordHead):
            source = self.spec.words(spec)
            positions = inputs.get(names.TARGET_POSITIONS) if spec.everywhere else inputs[names.MLM_POSITIONS]
            module = WordLogits(spec, source.vocab, self.dtype, name=module_name)
            return module(streams[spec.stream], positions, sources[source.stream].word_copies())
        if isinstance(spec, RegionHead):
            tokens = streams[self.spec.image]
            if names.HIDDEN in inputs:
                tokens = pick_cells(tokens, hidden_tokens(self.spec.input(IMAGE), inputs))
            return RegionLogits(spec, self.dtype, name=module_name)(tokens)
        if isinstance(spec, ContrastiveHead):
            return Contrast(spec, self.dtype, name=module_name)(streams, masks)
        assert isinstance(spec, ClassHead)
        if spec.read == "last_word":
            mask = masks[self.spec.text]
            before_last = mask * (jnp.cumsum(mask, 1) < mask.sum(1, keepdims=True))
            return ClassLogits(spec, self.dtype, name=module_name)(
                pool_tokens(streams[self.spec.text], before_last, "last")
            )
        if self.spec.combine.how == "late":
            return LateLogits(spec, self.spec.combine.weights, self.dtype, name=module_name)(pooled)
        return ClassLogits(spec, self.dtype, name=module_name)(pooled)
