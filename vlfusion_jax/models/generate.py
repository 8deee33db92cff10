"""Text from a model, a token at a time: greedy and beam search as pure functions, which give what `transformers` gives.

Texts stand in buffers of a fixed length, which the model reads whole at every step: a decoder is causal, so that what
comes behind the last token does not matter. The searches know of the model only a function to the next token's logits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.output import FusionOutput

# (tokens [rows, length], their mask) → logits [rows, vocab] of the token behind the last one.
NextLogits = Callable[[jax.Array, jax.Array], jax.Array]

# Score of what cannot be chosen, but may have to be where nothing else is left.
_NEVER = -1e9


@dataclass(frozen=True)
class Search:
    """How a text is looked for; the defaults are those of `transformers`.

    Attributes:
      end: id of the token that ends a text.
      pad: id that fills the rest.
      beams: texts that are kept at a time; 1 = greedy search.
      max_length: tokens of the longest text, its prompt and end included.
      min_length: tokens, the prompt included, before which a text does not end.
      length_penalty: score of a finished text is its log-probability divided by its length, without the prompt, to this
        power: above 0 favours long texts.
      repetition_penalty: by which scores of tokens that a text already has are made worse (Keskar et al. 2019, section
        4.1); 1 = not at all.
      early_stopping: whether a search ends with as many finished texts as beams, not only where no better can come.
    """

    end: int
    pad: int
    beams: int = 1
    max_length: int = 20
    min_length: int = 0
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    early_stopping: bool = False


def generate(
    model: FusionModel, params: Any, encoded: FusionOutput, head: str, prompt: jax.Array, search: Search
) -> tuple[jax.Array, jax.Array]:
    """Texts by a model's decoder.

    Args:
      model: has a `target` stream.
      params: its parameters.
      encoded: output of the model for inputs without `target`, of use to all steps and beams.
      head: name of the word head of `target`.
      prompt: [rows, p], how every text begins.
      search: how to look for texts.

    Returns:
      The texts, prompt and end included, [rows, max_length] int32, and their mask.
    """

    def logits_of(tokens: jax.Array, mask: jax.Array) -> jax.Array:
        target = {
            names.TARGET: tokens,
            names.mask_of(names.TARGET): mask,
            names.TARGET_POSITIONS: mask.sum(1, keepdims=True) - 1,
        }
        return model.apply({"params": params}, target, (head,), encoded=encoded).logits[head][:, 0]

    return (beam_search if search.beams > 1 else greedy_search)(logits_of, prompt, search)


def greedy_search(logits_of: NextLogits, prompt: jax.Array, search: Search) -> tuple[jax.Array, jax.Array]:
    """The most probable token, again and again; arguments and result as of `generate`."""
    tokens, length = _buffer(prompt, search), prompt.shape[1]

    def step(carry: tuple) -> tuple:
        tokens, place, ended = carry
        logits = _adjusted(logits_of(tokens, _mask(tokens, place)), tokens, place, search)
        token = jnp.where(ended, search.pad, jnp.argmax(logits, axis=-1)).astype(tokens.dtype)
        return tokens.at[:, place].set(token), place + 1, ended | (token == search.end)

    def unfinished(carry: tuple) -> jax.Array:
        _, place, ended = carry
        return (place < search.max_length) & ~ended.all()

    tokens, *_ = jax.lax.while_loop(unfinished, step, (tokens, jnp.int32(length), jnp.zeros(len(tokens), bool)))
    return _cut(tokens, length, search)


class _Beams(NamedTuple):
    """State of a beam search over r rows with k beams.

    Attributes:
      place: tokens so far.
      running, log_probs: [r, k, length] unfinished texts and [r, k] their log-probabilities, best first.
      finished, scores: [r, k, length] finished texts and [r, k] their scores, best first; `_NEVER` where there is none.
      is_finished: [r, k], where there is one.
      open: [r], whether a better text may come.
      stuck: whether no text can go on.
    """

    place: jax.Array
    running: jax.Array
    log_probs: jax.Array
    finished: jax.Array
    scores: jax.Array
    is_finished: jax.Array
    open: jax.Array
    stuck: jax.Array


def beam_search(logits_of: NextLogits, prompt: jax.Array, search: Search) -> tuple[jax.Array, jax.Array]:
    """The most probable text among `search.beams` that are kept at a time; arguments and result as of `generate`.

    `logits_of` is given the beams of a row one after the other.
    """
    rows, length, k = *prompt.shape, search.beams
    texts = jnp.repeat(_buffer(prompt, search)[:, None], k, axis=1)
    # At first all beams are the same: only one counts.
    first = jnp.tile(jnp.where(jnp.arange(k) == 0, 0.0, _NEVER), (rows, 1))
    state = _Beams(
        place=jnp.int32(length),
        running=texts,
        log_probs=first,
        finished=texts,
        scores=jnp.full((rows, k), _NEVER),
        is_finished=jnp.zeros((rows, k), bool),
        open=jnp.ones(rows, bool),
        stuck=jnp.asarray(False),
    )

    def unfinished(state: _Beams) -> jax.Array:
        complete = state.is_finished.all() if search.early_stopping else False
        return state.open.any() & ~state.stuck & jnp.logical_not(complete)

    state = jax.lax.while_loop(unfinished, lambda state: _extend(state, logits_of, length, search), state)
    return _cut(state.finished[:, 0], length, search)


def _extend(state: _Beams, logits_of: NextLogits, prompt_length: int, search: Search) -> _Beams:
    """A token more: the best 2k continuations, of which at least k do not end, as each beam has one end."""
    (rows, k, _), place = state.running.shape, state.place
    flat = state.running.reshape(rows * k, -1)
    log_probs = jax.nn.log_softmax(logits_of(flat, _mask(flat, place)).astype(jnp.float32))
    log_probs = _adjusted(log_probs, flat, place, search).reshape(rows, k, -1) + state.log_probs[..., None]
    vocab = log_probs.shape[-1]
    log_probs, best = jax.lax.top_k(log_probs.reshape(rows, -1), 2 * k)
    texts = _take(state.running, best // vocab).at[:, :, place].set(best % vocab)
    ends = (best % vocab == search.end) | (place + 1 >= search.max_length)

    running_log_probs, going = jax.lax.top_k(jnp.where(ends, log_probs + _NEVER, log_probs), k)
    # A text that ends is taken where it is among the best k, and its row still open.
    length = (place + 1 - prompt_length).astype(jnp.float32)
    full = state.is_finished.all(1) if search.early_stopping else jnp.zeros(rows, bool)
    ends_well = ends & (jnp.arange(2 * k) < k)
    allowed = ends_well & (state.open & ~full)[:, None]
    scores = jnp.where(allowed, log_probs / length**search.length_penalty, _NEVER)
    scores, kept = jax.lax.top_k(jnp.concatenate([state.scores, scores], axis=1), k)
    is_finished = _take(jnp.concatenate([state.is_finished, allowed], axis=1), kept)

    # Taken to have the present length, which is an estimate: with a penalty a longer text may do better.
    possible = running_log_probs[:, 0] / length**search.length_penalty
    worst = jnp.where(is_finished.all(1), scores[:, -1], _NEVER)
    return _Beams(
        place=place + 1,
        running=_take(texts, going),
        log_probs=running_log_probs,
        finished=_take(jnp.concatenate([state.finished, texts], axis=1), kept),
        scores=scores,
        is_finished=is_finished,
        open=state.open & (possible > worst),
        stuck=ends.all(),
    )


def _take(x: jax.Array, chosen: jax.Array) -> jax.Array:
    """Entries `chosen` [rows, n] of the second dim of `x`."""
    return jnp.take_along_axis(x, chosen.reshape(chosen.shape + (1,) * (x.ndim - 2)), axis=1)


def _buffer(prompt: jax.Array, search: Search) -> jax.Array:
    room = search.max_length - prompt.shape[1]
    if room < 1:
        raise UserError(f"max_length {search.max_length} leaves no room behind a prompt of {prompt.shape[1]} tokens.")
    return jnp.pad(prompt.astype(jnp.int32), ((0, 0), (0, room)), constant_values=search.pad)


def _mask(tokens: jax.Array, place: jax.Array) -> jax.Array:
    return jnp.broadcast_to(jnp.arange(tokens.shape[1]) < place, tokens.shape).astype(jnp.int32)


def _adjusted(scores: jax.Array, tokens: jax.Array, place: jax.Array, search: Search) -> jax.Array:
    """Scores [rows, vocab] after the repetition penalty and the shortest length."""
    if search.repetition_penalty != 1:
        rows = jnp.arange(len(tokens))[:, None]
        seen = jnp.zeros(scores.shape, bool).at[rows, tokens].max(_mask(tokens, place) > 0)
        worse = jnp.where(scores < 0, scores * search.repetition_penalty, scores / search.repetition_penalty)
        scores = jnp.where(seen, worse, scores)
    too_short = (jnp.arange(scores.shape[-1]) == search.end) & (place < search.min_length)
    return jnp.where(too_short, -jnp.inf, scores)


def _cut(tokens: jax.Array, prompt_length: int, search: Search) -> tuple[jax.Array, jax.Array]:
    """Texts and mask, all behind the first end padded."""
    ended = (tokens == search.end) & (jnp.arange(tokens.shape[1]) >= prompt_length)
    mask = jnp.cumsum(ended, axis=1) - ended == 0
    return jnp.where(mask, tokens, search.pad), mask.astype(jnp.int32)
