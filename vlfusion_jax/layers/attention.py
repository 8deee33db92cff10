"""Multi-head attention of one stream to itself or to another."""

import contextlib
import contextvars
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name

from vlfusion_jax.core import names
from vlfusion_jax.layers.projection import Projection
from vlfusion_jax.ops.attention import attention_weights, dot_product_attention
from vlfusion_jax.ops.fused_attention import KERNELS
from vlfusion_jax.parallel.strategy import constrain, part_by_part

_chosen: contextvars.ContextVar[str] = contextvars.ContextVar("attention", default="xla")


@contextlib.contextmanager
def attention_by(choice: str) -> Iterator[None]:
    """Within it, attention that functions trace is computed by `xla`, or by a kernel of `ops.fused_attention`."""
    token = _chosen.set(choice)
    try:
        yield
    finally:
        _chosen.reset(token)


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017, section 3.2.2).

    Kernels are [embed, heads, head_dim] and [heads, head_dim, embed]: heads can be split over devices without a
    reshape in between.

    Attributes:
      heads: how many; they divide the width.
      width: of all heads together; 0 = that of the queries.
      dropout: on the weights, where `train`.
      causal: whether a query sees only the keys up to its own place.
      capture: also return the weights.
    """

    heads: int
    width: int = 0
    dropout: float = 0.0
    train: bool = False
    causal: bool = False
    capture: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, queries_btd: jax.Array, keys_bsd: jax.Array, mask_bs: jax.Array, places_bt: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array | None]:
        """Attends from `queries_btd` [batch, t, embed] to `keys_bsd` [batch, s, any width] where `mask_bs` is 1.

        The keys may have fewer rows than the queries, which divide by them: equal shares of consecutive query rows then
        attend to one row of keys. They are laid end to end, so that keys are projected once and never copied.

        A decoder that is given a part of its text at a time says where in the text its queries stand, `places_bt`
        [batch, t]. Causal attention then reads no further than there, of what `mask_bs` says of the whole text, and
        keeps keys and values in the collection `cache`, [batch, heads, s, head_dim]. Other attention projects
        `keys_bsd` in the first call alone, for the collection `cross_cache`.

        Returns:
          [batch, t, embed], and the weights [batch, heads, t, s] in f32, None unless captured.
        """
        batch, length, embed = queries_btd.shape
        width = self.width or embed
        shared = batch // keys_bsd.shape[0]
        queries_btd = queries_btd.reshape(batch // shared, shared * length, embed)
        head_dim = width // self.heads

        def into_heads(name: str, x: jax.Array) -> jax.Array:
            y = Projection(
                "btd,dhk->bthk", (x.shape[-1], self.heads, head_dim), (names.EMBED, names.HEADS, names.HEAD_DIM),
                (self.heads, head_dim), (names.HEADS, names.HEAD_DIM), dtype=self.dtype, name=name,
            )(x)  # fmt: skip
            # Behind the product: an einsum to this order turns the kernel and all of x round before it.
            y = y.swapaxes(1, 2)
            return checkpoint_name(constrain(y, names.BATCH, names.HEADS, names.SEQUENCE, names.HEAD_DIM), names.QKV)

        def keys_and_values() -> tuple[jax.Array, jax.Array]:
            return into_heads("key", keys_bsd), into_heads("value", keys_bsd)

        query, mask, causal = into_heads("query", queries_btd), mask_bs, self.causal
        if places_bt is None:
            key, value = keys_and_values()
        elif self.causal:
            key, value = self._with_those_before(keys_and_values(), places_bt, mask_bs.shape[1])
            mask, causal = mask_bs[:, None] * (jnp.arange(key.shape[2]) <= places_bt[..., None]), False
        else:
            key, value = self.variable(names.CROSS_CACHE, "keys_and_values", keys_and_values).value
        attended = self._attend(query, key, value, mask, causal)
        output = Projection(
            "bthk,hkd->btd", (self.heads, head_dim, embed), (names.HEADS, names.HEAD_DIM, names.EMBED),
            (embed,), (names.EMBED,), dtype=self.dtype, name="output",
        )(attended.swapaxes(1, 2))  # fmt: skip
        output = output.reshape(batch, length, embed)
        if not self.capture:
            return output, None
        weights = attention_weights(query, key, mask, causal=causal)
        heads_outside = weights.reshape(batch // shared, self.heads, shared, length, -1).swapaxes(1, 2)
        return output, heads_outside.reshape(batch, self.heads, length, -1)

    def _with_those_before(self, new: tuple[jax.Array, ...], places_bt: jax.Array, length: int) -> tuple:
        """Keys and values [batch, heads, length, head_dim] of the cache, with the `new` ones at their places."""
        batch, heads, _, head_dim = new[0].shape
        rows = jnp.arange(batch)[:, None]

        def nothing() -> tuple:
            return tuple(jnp.zeros((batch, heads, length, head_dim), x.dtype) for x in new)

        kept = self.variable(names.CACHE, "keys_and_values", nothing)
        kept.value = tuple(
            before.at[rows, :, places_bt].set(x.swapaxes(1, 2)) for before, x in zip(kept.value, new, strict=True)
        )
        return kept.value

    def _attend(self, query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array, causal: bool) -> jax.Array:
        dropped = self.train and self.dropout > 0
        if _chosen.get() in KERNELS and mask.ndim == 2:  # kernels know of no mask for each query
            assert not dropped, "kernels do not drop weights; `train.setup` checks the specification"
            _, kernel = KERNELS[_chosen.get()]
            of_heads = (names.BATCH, names.HEADS, names.SEQUENCE, names.HEAD_DIM)
            of_arguments = (of_heads, of_heads, of_heads, (names.BATCH, names.SEQUENCE))
            return part_by_part(partial(kernel, causal=causal), of_arguments)(query, key, value, mask)
        dropout_key = self.make_rng(names.DROPOUT) if dropped else None
        return dot_product_attention(
            query, key, value, mask, causal=causal, dropout_rate=self.dropout, dropout_key=dropout_key
        )
