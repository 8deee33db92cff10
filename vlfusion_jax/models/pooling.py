"""From a stream to one vector, and from the vectors of several streams to the one that heads read."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.core.partitioned import with_axes
from vlfusion_jax.layers.attention import Attention
from vlfusion_jax.layers.mlp import Mlp
from vlfusion_jax.layers.norm import LayerNorm
from vlfusion_jax.layers.projection import Projection
from vlfusion_jax.models.spec.pools import Combine, Pool
from vlfusion_jax.ops.activations import ACTIVATIONS


class Pooled(nn.Module):
    """A `Pool`: [rows, tokens, width] and mask [rows, tokens] → [rows, width]."""

    spec: Pool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        spec = self.spec
        vector = self._probe(x, mask) if spec.how == "map" else pool_tokens(x, mask, spec.how)
        if spec.width:
            vector = dense(vector, spec.width, "projection", self.dtype, spec.bias)
        return ACTIVATIONS[spec.activation](vector) if spec.activation else vector

    def _probe(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        spec, width = self.spec, x.shape[-1]
        init = with_axes(nn.initializers.truncated_normal(0.02), names.EMBED)
        probe = self.param("probe", init, (width,), jnp.float32).astype(self.dtype)
        query = jnp.broadcast_to(probe, (x.shape[0], 1, width))
        read, _ = Attention(spec.heads, dtype=self.dtype, name="attention")(query, x, mask)
        normed = LayerNorm(spec.epsilon, self.dtype, name="norm")(read)
        return (read + Mlp(spec.mlp_width, spec.mlp_activation, self.dtype, name="mlp")(normed))[:, 0]


def pool_tokens(x: jax.Array, mask: jax.Array, how: str) -> jax.Array:
    """The `first` or `last` valid token of each row, or the `mean` of the valid ones: [rows, width]."""
    if how == "first":
        return x[:, 0]
    if how == "last":
        last = jnp.max(jnp.where(mask > 0, jnp.arange(mask.shape[1]), 0), axis=1)
        return jnp.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
    weights = mask.astype(jnp.float32)
    return ((x * weights[..., None]).sum(1) / jnp.maximum(weights.sum(1), 1)[:, None]).astype(x.dtype)


class Combined(nn.Module):
    """A `Combine`: vectors [rows, width …] → [rows, width], or one for each where `how` is `late`."""

    spec: Combine
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, vectors: Sequence[jax.Array]) -> jax.Array:
        how, width = self.spec.how, self.spec.width
        if how == "only":
            return vectors[0]
        if how == "concat":
            return jnp.concatenate(vectors, axis=-1)
        if how == "sum":
            return sum(vectors[1:], start=vectors[0])
        if how == "product":
            return jnp.prod(jnp.stack(vectors), axis=0)
        if how == "attention":
            return self._attend(vectors)
        return self._gated(vectors, width) if how == "gated" else self._bilinear(vectors, width)

    def _attend(self, vectors: Sequence[jax.Array]) -> jax.Array:
        """Returns h = Σ α_i x_i with α = softmax_i(w · tanh(W x_i)) (Bahdanau et al. 2015)."""
        stacked = jnp.stack(vectors, axis=1)
        hidden = jnp.tanh(_each(stacked, stacked.shape[-1], "hidden", self.dtype))
        scores = _each(hidden, 1, "score", self.dtype).astype(jnp.float32)
        return (jax.nn.softmax(scores, axis=1).astype(stacked.dtype) * stacked).sum(1)

    def _gated(self, vectors: Sequence[jax.Array], width: int) -> jax.Array:
        """GMU: h = Σ z_i tanh(W_i x_i), z = σ(V [x_1 … x_N]) (Arevalo et al. 2017, section 3.1)."""
        joined = jnp.concatenate(vectors, axis=-1)
        total = 0.0
        for i, x in enumerate(vectors):
            hidden = jnp.tanh(dense(x, width, f"hidden_{i}", self.dtype, bias=False))
            total = total + nn.sigmoid(dense(joined, width, f"gate_{i}", self.dtype, bias=False)) * hidden
        return total

    def _bilinear(self, vectors: Sequence[jax.Array], width: int) -> jax.Array:
        """MFB: products of two projections, summed in groups; signed square root, then unit length (Yu et al. 2017)."""
        product = 1.0
        for i, x in enumerate(vectors):
            product = product * dense(x, width * self.spec.factors, f"projection_{i}", self.dtype).astype(jnp.float32)
        z = product.reshape(*product.shape[:-1], width, self.spec.factors).sum(-1)
        # The root's gradient is infinite at 0, which random initialisation does not hit and masked rows may.
        rooted = jnp.sign(z) * (jnp.sqrt(jnp.abs(z) + 1e-12) - 1e-6)
        return (rooted / jnp.sqrt(jnp.square(rooted).sum(-1, keepdims=True) + 1e-12)).astype(self.dtype)


def dense(x: jax.Array, width: int, name: str, dtype: Any, bias: bool = True) -> jax.Array:
    """[rows, any] → [rows, width]."""
    shape = ((width,), (names.EMBED,)) if bias else ()
    return Projection("bd,de->be", (x.shape[-1], width), (names.PIXELS, names.EMBED), *shape, dtype=dtype, name=name)(x)


def _each(x: jax.Array, width: int, name: str, dtype: Any) -> jax.Array:
    axes = (names.PIXELS, names.EMBED) if width > 1 else (names.EMBED, names.TYPES)
    return Projection(
        "bnd,de->bne", (x.shape[-1], width), axes, (width,), axes[1:], dtype=dtype, name=name
    )(x)  # fmt: skip
