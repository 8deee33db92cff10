"""What texts that are to be written are judged by: at every token, the prediction of the next one."""

import jax
import jax.numpy as jnp

from vlfusion_jax.ops.losses import smoothed_cross_entropy


def next_token_losses(logits: jax.Array, tokens_bt: jax.Array, smoothing: float, vocab: int) -> jax.Array:
    """[rows, tokens] f32, in nats: see `smoothed_cross_entropy`; of the last token whatever comes.

    Args:
      logits: [rows, tokens, at least vocab].
      tokens_bt: [rows, tokens] integers, what is written.
      smoothing: share of a target that is spread over all words.
      vocab: number of words.
    """
    return smoothed_cross_entropy(logits, _next(tokens_bt), smoothing, vocab)


def next_token_found(logits: jax.Array, tokens_bt: jax.Array) -> jax.Array:
    """[rows, tokens] booleans: the next token is the most probable one."""
    return jnp.argmax(logits, axis=-1) == _next(tokens_bt)


def _next(tokens_bt: jax.Array) -> jax.Array:
    """Behind each token the next one; behind the last, whose weight is 0, whatever comes."""
    return jnp.roll(tokens_bt, -1, axis=1)
