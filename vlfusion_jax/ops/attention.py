"""Attention as functions of arrays."""

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from vlfusion_jax.core import names
from vlfusion_jax.ops.dropout import dropout

# Far below any score, far above overflow: exp() of it is exactly zero, and a score added to it is lost.
MASKED_SCORE = -1e30


def dot_product_attention(
    query_bhqd: jax.Array,
    key_bhkd: jax.Array,
    value_bhkd: jax.Array,
    mask_bk: jax.Array,
    *,
    causal: bool = False,
    dropout_rate: float = 0.0,
    dropout_key: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Scaled dot-product attention (Vaswani et al. 2017, eq. 1) with the softmax in f32.

    Args:
      query_bhqd: [batch, heads, queries, head_dim].
      key_bhkd: [batch, heads, keys, head_dim].
      value_bhkd: [batch, heads, keys, head_dim].
      mask_bk: [batch, keys], non-zero = keep. A row that keeps nothing yields zeros.
      causal: query i sees keys up to i only; there are as many of both.
      dropout_rate: share of attention weights dropped, where `dropout_key` is given.
      dropout_key: key of the dropout.

    Returns:
      The attended values [batch, heads, queries, head_dim] in the values' dtype, and the weights
      [batch, heads, queries, keys] in f32, before dropout.
    """
    keep = mask_bk[:, None, None, :] > 0
    if causal:
        keep = keep & jnp.tri(query_bhqd.shape[2], dtype=bool)
    query_bhqd = query_bhqd * (query_bhqd.shape[-1] ** -0.5)
    scores = jnp.einsum("bhqd,bhkd->bhqk", query_bhqd, key_bhkd, preferred_element_type=jnp.float32)
    scores = scores + jnp.where(keep, 0.0, MASKED_SCORE)
    highest = checkpoint_name(jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True)), names.SOFTMAX)
    exponentials = jnp.exp(scores - highest)
    total = checkpoint_name(exponentials.sum(axis=-1, keepdims=True), names.SOFTMAX)
    # The softmax's division comes after the product: over head_dim values a query, not over all keys.
    dropped = dropout(exponentials, dropout_rate, dropout_key).astype(value_bhkd.dtype)
    attended = jnp.einsum("bhqk,bhkd->bhqd", dropped, value_bhkd, preferred_element_type=jnp.float32) / total
    attended = jnp.where(jnp.any(keep, axis=-1, keepdims=True), attended, 0).astype(value_bhkd.dtype)
    return attended, exponentials / total
