"""Contrast of every text with every image: what belongs together, what is most alike of the rest, and losses."""

import jax
import jax.numpy as jnp

from vlfusion_jax.ops.attention import MASKED_SCORE


def same_pairs(records_n: jax.Array, tokens_nt: jax.Array, valid_n: jax.Array) -> jax.Array:
    """Which text belongs to which image of a batch: its own, one of the same record, or one whose text reads the same.

    Args:
      records_n: [n] integers, of each pair of text and image.
      tokens_nt: [n, tokens] integers, of its text.
      valid_n: [n], non-zero where there is a text.

    Returns:
      [n, n] booleans, symmetric; False where either is not valid.
    """
    alike = (tokens_nt[:, None] == tokens_nt[None]).all(-1) | (records_n[:, None] == records_n[None])
    return alike & _both(valid_n > 0)


def contrastive_cross_entropy(logits_nm: jax.Array, targets_nm: jax.Array, keep_m: jax.Array) -> jax.Array:
    """Softmax cross-entropy of each row over the columns that are kept: [n] f32, in nats.

    Args:
      logits_nm: [n, m].
      targets_nm: [n, m], the distribution that a row should have; 0 where a column is left out.
      keep_m: [m], non-zero = keep.
    """
    logits = jnp.where(keep_m > 0, logits_nm.astype(jnp.float32), MASKED_SCORE)
    log_probs = logits - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    return -jnp.where(keep_m > 0, targets_nm * log_probs, 0).sum(-1)


def pairwise_sigmoid(logits_nm: jax.Array, same_nm: jax.Array, keep_m: jax.Array) -> jax.Array:
    """Sigmoid cross-entropy of every pair (SigLIP, Zhai et al. 2023, section 3.2), summed over the columns kept.

    Args:
      logits_nm: [n, m].
      same_nm: [n, m], non-zero where the two belong together.
      keep_m: [m], non-zero = keep.

    Returns:
      [n] f32, in nats.
    """
    signed = jnp.where(same_nm > 0, 1.0, -1.0) * logits_nm.astype(jnp.float32)
    return jnp.where(keep_m > 0, jax.nn.softplus(-signed), 0).sum(-1)


def shares(same_nm: jax.Array) -> jax.Array:
    """Each row of [n, m] as a distribution, even over what is non-zero; all 0 where nothing is."""
    same = same_nm.astype(jnp.float32)
    return same / jnp.maximum(same.sum(-1, keepdims=True), 1)


def other_pairs(same_nn: jax.Array, valid_n: jax.Array) -> jax.Array:
    """[n, n] booleans: both are valid, and do not belong together."""
    return ~same_nn & _both(valid_n > 0)


def hard_negatives(logits_nn: jax.Array, others_nn: jax.Array, key: jax.Array) -> jax.Array:
    """For each row a column of `others_nn`, drawn by the softmax of the logits over these (ALBEF, Li et al. 2021, 3.2).

    Args:
      logits_nn: [n, n], how alike two are; no gradient passes.
      others_nn: [n, n] booleans, what may be drawn.
      key: of the draw.

    Returns:
      [n] integers; the row's own number where it has none to draw.
    """
    logits = jnp.where(others_nn, jax.lax.stop_gradient(logits_nn).astype(jnp.float32), MASKED_SCORE)
    drawn = jax.random.categorical(key, logits, axis=-1)
    return jnp.where(others_nn.any(-1), drawn, jnp.arange(len(drawn)))


def _both(valid_n: jax.Array) -> jax.Array:
    return valid_n[:, None] & valid_n[None]
