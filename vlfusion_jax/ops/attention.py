"""Attention as functions of arrays."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from vlfusion_jax.core import names
from vlfusion_jax.ops.dropout import keep_mask, kept_share

# Far below any score, far above overflow: exp() of it is exactly zero, and a score added to it is lost.
MASKED_SCORE = -1e30


def dot_product_attention(
    query_bhqd: jax.Array,
    key_bhkd: jax.Array,
    value_bhkd: jax.Array,
    mask: jax.Array,
    *,
    causal: bool = False,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1) with the softmax in f32.

    Its exponentials are rounded to the values' dtype, for the sum that divides as for the product.

    Args:
      query_bhqd: [batch, heads, queries, head_dim].
      key_bhkd: [batch, heads, keys, head_dim].
      value_bhkd: [batch, heads, keys, head_dim].
      mask: [batch, keys] or [batch, queries, keys], non-zero = keep. A query that keeps nothing yields zeros.
      causal: query i sees keys up to i only; there are as many of both.
      dropout_rate: share of attention weights dropped, where `dropout_key` is given.
      dropout_key: key of the dropout.

    Returns:
      The attended values [batch, heads, queries, head_dim] in the values' dtype.
    """
    kept = None
    if dropout_rate and dropout_key is not None:
        kept = keep_mask(dropout_rate, dropout_key, (*query_bhqd.shape[:3], key_bhkd.shape[2]))
    keep = _keep(query_bhqd, mask, causal)
    return _attend(dropout_rate, _scaled(query_bhqd), key_bhkd, value_bhkd, keep, kept)


def attention_weights(
    query_bhqd: jax.Array, key_bhkd: jax.Array, mask: jax.Array, *, causal: bool = False
) -> jax.Array:
    """The weights of `dot_product_attention`, before dropout: [batch, heads, queries, keys] in f32.

    Those of a query that keeps nothing are zero.
    """
    keep = _keep(query_bhqd, mask, causal)
    weights = jax.nn.softmax(_scores(_scaled(query_bhqd), key_bhkd, keep), axis=-1)
    return jnp.where(jnp.any(keep, axis=-1, keepdims=True), weights, 0)


def _scaled(query_bhqd: jax.Array) -> jax.Array:
    return query_bhqd * (query_bhqd.shape[-1] ** -0.5)


def _keep(query_bhqd: jax.Array, mask: jax.Array, causal: bool) -> jax.Array:
    """Booleans [batch, 1, 1 or queries, keys]: what a query may see."""
    keep = (mask[:, None, None, :] if mask.ndim == 2 else mask[:, None]) > 0
    return keep & jnp.tri(query_bhqd.shape[2], dtype=bool) if causal else keep


def _scores(query_bhqd: jax.Array, key_bhkd: jax.Array, keep: jax.Array) -> jax.Array:
    scores = jnp.einsum("bhqd,bhkd->bhqk", query_bhqd, key_bhkd, preferred_element_type=jnp.float32)
    return scores + jnp.where(keep, 0.0, MASKED_SCORE)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(
    rate: float, query: jax.Array, key: jax.Array, value: jax.Array, keep: jax.Array, kept: jax.Array | None
) -> jax.Array:
    """Attended values of scaled queries.

    The backward pass computes the scores again from queries, keys and one number for each query (Dao et al. 2022,
    "FlashAttention", section 3.1): nothing of size [queries, keys] is kept for it but dropout's mask.
    """
    return _forward(rate, query, key, value, keep, kept)[0]


def _forward(
    rate: float, query: jax.Array, key: jax.Array, value: jax.Array, keep: jax.Array, kept: jax.Array | None
) -> tuple[jax.Array, tuple]:
    scores = _scores(query, key, keep)
    highest = scores.max(axis=-1, keepdims=True)
    exponentials = jnp.exp(scores - highest)
    total = jax.lax.platform_dependent(exponentials.astype(value.dtype), tpu=_sums_by_product, default=_sums)
    # The softmax's division comes after the product: over head_dim values a query, not over all keys.
    dropped = _dropped(exponentials, rate, kept).astype(value.dtype)
    attended = jnp.einsum("bhqk,bhkd->bhqd", dropped, value, preferred_element_type=jnp.float32) / total
    attended = jnp.where(jnp.any(keep, axis=-1, keepdims=True), attended, 0).astype(value.dtype)
    attended = checkpoint_name(attended, names.ATTENDED)
    logsumexp = checkpoint_name(highest + jnp.log(total), names.SOFTMAX)
    return attended, (query, key, value, keep, kept, attended, logsumexp)


def _sums(x: jax.Array) -> jax.Array:
    return x.sum(axis=-1, keepdims=True, dtype=jnp.float32)


def _sums_by_product(x: jax.Array) -> jax.Array:
    """A TPU's matrix unit sums what it is fed from registers; a sum of its own is one more pass over all of `x`.

    Two columns, since a product with one becomes a sum again.
    """
    ones = jnp.ones((x.shape[-1], 2), x.dtype)
    return jnp.einsum("bhqk,kc->bhqc", x, ones, preferred_element_type=jnp.float32)[..., :1]


def _backward(rate: float, saved: tuple, grad: jax.Array) -> tuple:
    query, key, value, keep, kept, attended, logsumexp = saved
    grad = jnp.where(jnp.any(keep, axis=-1, keepdims=True), grad, 0)
    weights = jnp.exp(_scores(query, key, keep) - logsumexp)
    of_value = jnp.einsum("bhqk,bhqd->bhkd", _dropped(weights, rate, kept).astype(value.dtype), grad)
    of_weights = jnp.einsum("bhqd,bhkd->bhqk", grad, value, preferred_element_type=jnp.float32)
    mean = (grad.astype(jnp.float32) * attended).sum(axis=-1, keepdims=True)
    of_scores = (weights * (_dropped(of_weights, rate, kept) - mean)).astype(query.dtype)
    of_query = jnp.einsum("bhqk,bhkd->bhqd", of_scores, key)
    of_key = jnp.einsum("bhqk,bhqd->bhkd", of_scores, query)
    return of_query, of_key, of_value, None, None


_attend.defvjp(_forward, _backward)


def _dropped(x: jax.Array, rate: float, kept: jax.Array | None) -> jax.Array:
    return x if kept is None else jnp.where(kept, x / kept_share(rate), 0)
