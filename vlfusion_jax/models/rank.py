"""The most probable of given texts: answers of a list, for models that write (BLIP, Li et al. 2022, section 5.3)."""

from typing import Any

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.output import FusionOutput


def rank(
    model: FusionModel,
    params: Any,
    encoded: FusionOutput,
    head: str,
    texts: jax.Array,
    mask: jax.Array,
    top: int,
    shortlist: int,
) -> tuple[jax.Array, jax.Array]:
    """The most probable of `texts` for each row, among those whose first tokens are the most probable.

    Two passes, as in the code that BLIP and ALBEF (Li et al. 2021, appendix) came with: the first token of all, then
    all of those on the shortlist. Theirs smooths the labels of the likelihoods by 0.1, which is left out here.

    Args:
      model: has a `target` stream.
      params: its parameters.
      encoded: output of the model for `rows` inputs without `target`.
      head: name of the word head of `target`.
      texts: [n, t] int32, each between the tokens that begin and end a text, padding behind it.
      mask: [n, t], 1 = token.
      top: how many to return, at most `shortlist`.
      shortlist: texts that are read whole for each row, at most n; they are all held at once.

    Returns:
      Numbers of the texts [rows, top] int32, best first, and their log-probabilities [rows, top] f32, of all tokens
      behind the one that begins them.
    """

    def log_probs_of(tokens: jax.Array, mask: jax.Array) -> jax.Array:
        """[rows, t] → [rows, t, vocab]."""
        target = {names.TARGET: tokens, names.mask_of(names.TARGET): mask}
        return jax.nn.log_softmax(model.apply({"params": params}, target, (head,), encoded=encoded).logits[head])

    rows = len(encoded.image if encoded.text is None else encoded.text)
    begin = jnp.broadcast_to(texts[0, :1], (rows, 1))
    first = log_probs_of(begin, jnp.ones_like(begin))[:, 0]
    _, listed = jax.lax.top_k(first[:, texts[:, 1]], shortlist)
    tokens, mask = (x[listed].reshape(rows * shortlist, -1) for x in (texts, mask))
    log_probs = log_probs_of(tokens[:, :-1], mask[:, :-1])
    each = jnp.take_along_axis(log_probs, tokens[:, 1:, None], axis=2)[..., 0]
    total = jnp.where(mask[:, 1:] > 0, each, 0).sum(1).reshape(rows, shortlist)
    best, order = jax.lax.top_k(total, top)
    return jnp.take_along_axis(listed, order, axis=1).astype(jnp.int32), best
