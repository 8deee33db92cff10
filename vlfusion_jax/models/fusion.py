"""The fusion engine: one module that every single-stream and two-stream model is a specification of."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.layers.embeddings import ConvTokens, ImagePositions, PatchTokens, Table, TextEmbedding
from vlfusion_jax.layers.norm import LayerNorm
from vlfusion_jax.layers.stack import Stack
from vlfusion_jax.models.heads import AnswerHead, ItmHead, MlmHead, Pooler
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.models.spec import IMAGE_STREAM, JOINT, TEXT_STREAM, ModelSpec
from vlfusion_jax.ops.masks import normalise_pixels
from vlfusion_jax.parallel.strategy import constrain


class FusionModel(nn.Module):
    """Text and image tokens through the stages of `spec`, then the heads.

    Deterministic in token order: text, then image tokens in raster order. Padding and the other rows of the batch
    never change a valid output.
    """

    spec: ModelSpec
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, inputs: Mapping[str, jax.Array], heads: tuple[str, ...], train: bool = False, capture: bool = False
    ) -> FusionOutput:
        """Runs the model on one view of a batch.

        Args:
          inputs: `image` [images, H, W, 3] uint8 (or float in [0, 1]), `image_mask` [images, H, W], `text` and
            `text_mask` [rows, tokens] int32, and for the `mlm` head `positions` [rows, p] int32. `rows` is a multiple
            of `images`; rows i*k … i*k+k-1 read image i, which is encoded once.
          heads: of `mlm`, `itm`, `vqa`.
          train: apply dropout, from the `dropout` rng.
          capture: also return hidden states and attention weights.
        """
        words = Table(self.spec.padded_vocab, self.spec.width, names.VOCAB, self.dtype, name="words")()
        streams, masks = self._embed(inputs, words, train)
        rows = inputs[names.TEXT].shape[0]
        hidden, attention = [], []
        for i, stage in enumerate(self.spec.stages):
            if not stage.image_once:
                streams, masks = _one_image_per_row(streams, masks, rows)
            if stage.streams == (JOINT,) and JOINT not in streams:
                streams = {JOINT: jnp.concatenate([streams[TEXT_STREAM], streams[IMAGE_STREAM]], axis=1)}
                masks = masks | {JOINT: jnp.concatenate([masks[TEXT_STREAM], masks[IMAGE_STREAM]], axis=1)}
            stack = Stack(
                self.spec.block, stage.streams, stage.context, stage.sublayers, stage.layers, self.spec.scan,
                self.spec.remat, train, capture, self.dtype, name=f"stage_{i}",
            )  # fmt: skip
            present = stage.streams + ((stage.context,) if stage.context else ())
            updated, captured = stack({s: streams[s] for s in present}, {s: masks[s] for s in present})
            streams = streams | updated
            hidden.append(captured.get("hidden", {}))
            attention.append(captured.get("attention", {}))

        if self.spec.block.norm == "pre":
            streams = {
                s: LayerNorm(self.spec.block.norm_epsilon, self.dtype, name=f"{s}_norm")(x) for s, x in streams.items()
            }
        if JOINT in streams:
            length = inputs[names.TEXT].shape[1]
            streams = {TEXT_STREAM: streams[JOINT][:, :length], IMAGE_STREAM: streams[JOINT][:, length:]}
        text, image = streams[TEXT_STREAM], streams[IMAGE_STREAM]
        pooled = Pooler(self.spec.width, self.dtype, name="pooler")(text)
        return FusionOutput(
            text=text,
            image=image,
            text_mask=masks[TEXT_STREAM],
            image_mask=masks[IMAGE_STREAM],
            pooled=pooled,
            logits=self._logits(heads, inputs, words, text, pooled),
            hidden=tuple(hidden) if capture else (),
            attention=tuple(attention) if capture else (),
        )

    def _embed(self, inputs: Mapping[str, jax.Array], words: jax.Array, train: bool) -> tuple[dict, dict]:
        """Tokens and masks of both streams; as many image rows as there are images."""
        spec, epsilon = self.spec, self.spec.block.norm_epsilon
        dropout = nn.Dropout(spec.block.dropout, deterministic=not train)
        types = Table(2, spec.width, names.TYPES, self.dtype, name="modality")()
        text = TextEmbedding(spec.text_length, epsilon, self.dtype, name="text")(inputs[names.TEXT], words)
        pixels = normalise_pixels(inputs[names.IMAGE], inputs[names.IMAGE_MASK], self.dtype)
        if spec.image.tokens == "patch":
            tokens = PatchTokens(spec.image.patch, spec.width, self.dtype, name="image")
        else:
            tokens = ConvTokens(spec.image.channels, spec.width, self.dtype, name="image")
        image, image_mask = tokens(pixels, inputs[names.IMAGE_MASK])
        image = image + ImagePositions(spec.image.grid, spec.width, self.dtype, name="image_grid")()
        image = LayerNorm(epsilon, self.dtype, name="image_norm_in")(image)
        streams = {TEXT_STREAM: dropout(text + types[0]), IMAGE_STREAM: dropout(image + types[1])}
        streams = {s: constrain(x, names.BATCH, names.SEQUENCE, names.EMBED_ACTIVATION) for s, x in streams.items()}
        return streams, {TEXT_STREAM: inputs[names.TEXT_MASK], IMAGE_STREAM: image_mask.astype(jnp.int32)}

    def _logits(
        self, heads: tuple[str, ...], inputs: Mapping, words: jax.Array, text: jax.Array, pooled: jax.Array
    ) -> dict[str, jax.Array]:
        spec, block = self.spec, self.spec.block
        logits = {}
        if names.MLM in heads:
            head = MlmHead(spec.vocab, block.activation, block.norm_epsilon, self.dtype, name=names.HEAD + names.MLM)
            logits[names.MLM] = head(text, inputs[names.MLM_POSITIONS], words)
        if names.ITM in heads:
            logits[names.ITM] = ItmHead(self.dtype, name=names.HEAD + names.ITM)(pooled)
        if names.VQA in heads:
            head = AnswerHead(
                spec.answers, spec.padded_answers, spec.answer_hidden, block.activation, block.norm_epsilon,
                self.dtype, name=names.HEAD + names.VQA,
            )  # fmt: skip
            logits[names.VQA] = head(pooled)
        return logits


def _one_image_per_row(streams: dict, masks: dict, rows: int) -> tuple[dict, dict]:
    """Repeats the image tokens for the texts that share an image."""
    if IMAGE_STREAM not in streams or streams[IMAGE_STREAM].shape[0] == rows:
        return streams, masks
    per_image = rows // streams[IMAGE_STREAM].shape[0]
    repeat = {IMAGE_STREAM: jnp.repeat(streams[IMAGE_STREAM], per_image, axis=0)}
    repeat_mask = {IMAGE_STREAM: jnp.repeat(masks[IMAGE_STREAM], per_image, axis=0)}
    return streams | repeat, masks | repeat_mask
