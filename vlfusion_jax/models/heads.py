"""Prediction heads on fused tokens."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.core.partitioned import with_axes
from vlfusion_jax.layers.norm import LayerNorm
from vlfusion_jax.layers.projection import Projection
from vlfusion_jax.ops.activations import ACTIVATIONS
from vlfusion_jax.ops.attention import MASKED_SCORE


class Pooler(nn.Module):
    """tanh of a projection of the first token (BERT, Devlin et al. 2019)."""

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, tokens_btd: jax.Array) -> jax.Array:
        return jnp.tanh(_square(self.width, self.dtype, "projection")(tokens_btd[:, 0]))


class MlmHead(nn.Module):
    """Word logits at given positions: projection, activation, norm, and the word table transposed (BERT).

    Only the masked positions are projected, so that [rows, tokens, vocab] never exists.
    """

    vocab: int
    activation: str
    epsilon: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, text_btd: jax.Array, positions_bp: jax.Array, words_vd: jax.Array) -> jax.Array:
        """[rows, tokens, width], [rows, p] and [padded vocab, width] → [rows, p, padded vocab] f32."""
        width = text_btd.shape[-1]
        x = jnp.take_along_axis(text_btd, positions_bp[..., None], axis=1)
        x = Projection(
            "bpd,de->bpe", (width, width), (names.PIXELS, names.EMBED), (width,), (names.EMBED,),
            dtype=self.dtype, name="transform",
        )(x)  # fmt: skip
        x = LayerNorm(self.epsilon, self.dtype, name="norm")(ACTIVATIONS[self.activation](x))
        logits = jnp.einsum("bpd,vd->bpv", x, words_vd.astype(self.dtype), preferred_element_type=jnp.float32)
        init = with_axes(nn.initializers.zeros_init(), names.VOCAB_BIAS)
        bias = self.param("bias", init, (words_vd.shape[0],), jnp.float32)
        return mask_classes(logits + bias, self.vocab)


class ItmHead(nn.Module):
    """Two logits from the pooled vector: does the text belong to the image? (index 1 = yes)."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pooled_bd: jax.Array) -> jax.Array:
        return Projection(
            "bd,dc->bc", (pooled_bd.shape[-1], 2), (names.EMBED, names.TYPES), (2,), (names.TYPES,),
            dtype=self.dtype, name="projection",
        )(pooled_bd).astype(jnp.float32)  # fmt: skip


class AnswerHead(nn.Module):
    """Answer logits from the pooled vector: projection, norm, activation, projection (ViLT, Kim et al. 2021)."""

    answers: int
    padded: int
    hidden: int
    activation: str
    epsilon: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pooled_bd: jax.Array) -> jax.Array:
        x = Projection(
            "bd,df->bf", (pooled_bd.shape[-1], self.hidden), (names.EMBED, names.MLP), (self.hidden,),
            (names.MLP_BIAS,), dtype=self.dtype, name="expand",
        )(pooled_bd)  # fmt: skip
        x = ACTIVATIONS[self.activation](LayerNorm(self.epsilon, self.dtype, names.MLP_BIAS, name="norm")(x))
        logits = Projection(
            "bf,fa->ba", (self.hidden, self.padded), (names.EMBED, names.ANSWERS), (self.padded,), (names.ANSWERS,),
            dtype=self.dtype, name="answers",
        )(x)  # fmt: skip
        return mask_classes(logits.astype(jnp.float32), self.answers)


def mask_classes(logits: jax.Array, classes: int) -> jax.Array:
    """The logits with those beyond `classes`, which only pad the table, out of reach."""
    if logits.shape[-1] == classes:
        return logits
    return jnp.where(jnp.arange(logits.shape[-1]) < classes, logits, MASKED_SCORE)


def _square(width: int, dtype: Any, name: str) -> Projection:
    return Projection(
        "bd,de->be", (width, width), (names.PIXELS, names.EMBED), (width,), (names.EMBED,), dtype=dtype, name=name
    )
