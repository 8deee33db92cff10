"""Prediction heads on fused tokens and vectors."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.core.partitioned import with_axes
from vlfusion_jax.layers.embeddings import Table
from vlfusion_jax.layers.norm import LayerNorm
from vlfusion_jax.layers.projection import Projection
from vlfusion_jax.models.pooling import Pooled
from vlfusion_jax.models.spec.heads import ClassHead, ContrastiveHead, RegionHead, WordHead
from vlfusion_jax.ops.activations import ACTIVATIONS
from vlfusion_jax.ops.attention import MASKED_SCORE
from vlfusion_jax.ops.product import table_product
from vlfusion_jax.parallel.rows import own_copies, with_own_copy


class WordLogits(nn.Module):
    """Word logits: projection to the word table's width, activation, norm, and that table transposed.

    As in BERT (Devlin et al. 2019), whose tokens are as wide as that table. Where positions are given only they are
    projected, so that [rows, tokens, vocab] never exists.
    """

    spec: WordHead
    vocab: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, text_btd: jax.Array, positions_bp: jax.Array | None, words_cvd: jax.Array) -> jax.Array:
        """[rows, tokens, width], [rows, p], [copies, padded vocab, width] → [rows, p or tokens, padded vocab] f32."""
        x = text_btd if positions_bp is None else jnp.take_along_axis(text_btd, positions_bp[..., None], axis=1)
        x = _transform(x, words_cvd.shape[2], self.spec.activation, self.spec.epsilon, self.dtype)
        if not self.spec.tied:
            table = Table(*words_cvd.shape[1:], names.VOCAB, self.dtype, name="words")()
            words_cvd = own_copies(table, names.VOCAB, names.EMBED)
        logits = with_own_copy(table_product)(words_cvd, x)
        init = with_axes(nn.initializers.zeros_init(), names.VOCAB_BIAS)
        bias = self.param("bias", init, (words_cvd.shape[1],), jnp.float32)
        return mask_classes(logits + bias, self.vocab)


class ClassLogits(nn.Module):
    """A `ClassHead`: [rows, width] → [rows, padded classes] f32, one for every `spec.rows` rows."""

    spec: ClassHead
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, vector_bd: jax.Array) -> jax.Array:
        spec = self.spec
        x = vector_bd.reshape(-1, spec.rows * vector_bd.shape[-1])
        if spec.hidden:
            x = Projection(
                "bd,df->bf", (x.shape[-1], spec.hidden), (names.EMBED, names.MLP), (spec.hidden,),
                (names.MLP_BIAS,), dtype=self.dtype, name="expand",
            )(x)  # fmt: skip
            norm = LayerNorm(spec.epsilon, self.dtype, names.MLP_BIAS, name="norm")
            activation = ACTIVATIONS[spec.activation]
            x = activation(norm(x)) if spec.norm_first else norm(activation(x))
        axis = names.ANSWERS if spec.pad else names.TYPES
        logits = Projection(
            "bf,fa->ba", (x.shape[-1], spec.padded), (names.EMBED, axis), (spec.padded,), (axis,),
            dtype=self.dtype, name="classes",
        )(x)  # fmt: skip
        return mask_classes(logits.astype(jnp.float32), spec.classes)


class RegionLogits(nn.Module):
    """A `RegionHead`: [images, tokens, width] → {name: [images, tokens, size]} f32; the tokens may be some of them."""

    spec: RegionHead
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image_btd: jax.Array) -> dict[str, jax.Array]:
        x = _transform(image_btd, image_btd.shape[-1], self.spec.activation, self.spec.epsilon, self.dtype)
        return {
            name: Projection(
                "btd,dc->btc", (x.shape[-1], size), (names.EMBED, names.PIXELS), (size,), (names.PIXELS,),
                dtype=self.dtype, name=name,
            )(x).astype(jnp.float32)
            for name, size in self.spec.outputs
        }  # fmt: skip


class Contrast(nn.Module):
    """A `ContrastiveHead`: unit vectors by name, `logits` [texts, images], their `scale` [] and `bias` []; f32."""

    spec: ContrastiveHead
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, streams: dict[str, jax.Array], masks: dict[str, jax.Array]) -> dict[str, jax.Array]:
        vectors = {}
        for name, pool in self.spec.vectors:
            vector = Pooled(pool, self.dtype, name=name)(streams[pool.stream], masks[pool.stream]).astype(jnp.float32)
            vectors[name] = vector / jnp.linalg.norm(vector, axis=-1, keepdims=True)
        # Scaled by about 100: the rounding of fast products would show in the logits.
        logits = jnp.matmul(vectors[names.TEXT], vectors[names.IMAGE].T, precision=jax.lax.Precision.HIGHEST)
        scale = jnp.float32(1)
        if self.spec.scale is not None:
            scale = scale * jnp.exp(self._scalar("log_scale", self.spec.scale))
        if self.spec.temperature is not None:
            scale = scale / self._scalar("temperature", self.spec.temperature)
        bias = jnp.float32(0) if self.spec.bias is None else self._scalar("bias", self.spec.bias)
        return vectors | {"logits": logits * scale + bias, names.SCALE: scale, names.BIAS: bias}

    def _scalar(self, name: str, value: float) -> jax.Array:
        return self.param(name, with_axes(nn.initializers.constant(value)), (), jnp.float32)


class LateLogits(nn.Module):
    """Late fusion: a head for each vector, y = Σ w_i y_i with w given, or the softmax of learned numbers.

    Attributes:
      weights: w; empty = learned.
    """

    spec: ClassHead
    weights: tuple[float, ...] = ()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, vectors: Sequence[jax.Array]) -> jax.Array:
        weights = self.weights
        if not weights:
            init = with_axes(nn.initializers.zeros_init(), names.TYPES)
            weights = jax.nn.softmax(self.param("weights", init, (len(vectors),), jnp.float32))
        each = [ClassLogits(self.spec, self.dtype, name=f"vector_{i}")(x) for i, x in enumerate(vectors)]
        return sum(weight * logits for weight, logits in zip(weights, each, strict=True))


def mask_classes(logits: jax.Array, classes: int) -> jax.Array:
    """The logits with those beyond `classes`, which only pad the table, out of reach."""
    if logits.shape[-1] == classes:
        return logits
    return jnp.where(jnp.arange(logits.shape[-1]) < classes, logits, MASKED_SCORE)


def _transform(x: jax.Array, width: int, activation: str, epsilon: float, dtype: Any) -> jax.Array:
    """Projection to `width`, activation and norm of tokens; called in the compact method of a head."""
    x = Projection(
        "bpd,de->bpe", (x.shape[-1], width), (names.PIXELS, names.EMBED), (width,), (names.EMBED,),
        dtype=dtype, name="transform",
    )(x)  # fmt: skip
    return LayerNorm(epsilon, dtype, name="norm")(ACTIVATIONS[activation](x))
