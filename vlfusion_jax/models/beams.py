"""Beam search, as `transformers` has it: the best texts so far are kept beside those that have ended."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vlfusion_jax.models.search import Next, Search, Written, adjusted, begun, padded

# Score of what cannot be chosen, but may have to be where nothing else is left.
_NEVER = -1e9


class _Beams(NamedTuple):
    """State of a beam search over r rows with k beams.

    Attributes:
      places: [r] of the next token.
      running, log_probs: [r, k, length] unfinished texts and [r, k] their log-probabilities, best first.
      running_own: [r, k] their log-probabilities as the model gives them.
      finished, scores, finished_own, ends: [r, k, length] finished texts, [r, k] their scores, best first, `_NEVER`
        where there is none, their log-probabilities as the model gives them, and the places behind them.
      is_finished: [r, k], where there is one.
      open: [r], whether a better text may come.
      memory: of the model, for the r * k unfinished texts.
    """

    places: jax.Array
    running: jax.Array
    log_probs: jax.Array
    running_own: jax.Array
    finished: jax.Array
    scores: jax.Array
    finished_own: jax.Array
    ends: jax.Array
    is_finished: jax.Array
    open: jax.Array
    memory: Any


def beam_search(next_of: Next, memory: Any, prompt: jax.Array, mask: jax.Array, search: Search) -> Written:
    """The text of the best score among `search.beams` that are kept at a time; arguments as of `single_search`.

    `next_of` is given the beams of a row one after the other.
    """
    tokens, lengths = begun(prompt, mask, search)
    rows, k = len(tokens), search.beams
    texts, nothing = jnp.repeat(tokens[:, None], k, axis=1), jnp.zeros((rows, k))
    first = _Beams(
        places=lengths,
        running=texts,
        # At first all beams are the same: only one counts.
        log_probs=jnp.tile(jnp.where(jnp.arange(k) == 0, 0.0, _NEVER), (rows, 1)),
        running_own=nothing,
        finished=texts,
        scores=nothing + _NEVER,
        finished_own=nothing,
        ends=jnp.repeat(lengths[:, None], k, axis=1),
        is_finished=jnp.zeros((rows, k), bool),
        open=jnp.ones(rows, bool),
        memory=rows_of(memory, jnp.repeat(jnp.arange(rows), k)),
    )
    last = jax.lax.while_loop(
        lambda state: state.open.any(), lambda state: _extended(state, next_of, lengths, search), first
    )
    written = padded(last.finished[:, 0], last.ends[:, 0], search)
    return Written(*written, last.finished_own[:, 0], last.scores[:, 0])


def _extended(state: _Beams, next_of: Next, lengths: jax.Array, search: Search) -> _Beams:
    """A token more: the best 2k continuations, of which at least k do not end, as each beam has one end."""
    (rows, k, _), places = state.running.shape, state.places
    flat, flat_places = state.running.reshape(rows * k, -1), jnp.repeat(places, k)
    logits, memory = next_of(flat[jnp.arange(rows * k), flat_places - 1], flat_places - 1, state.memory)
    own = jax.nn.log_softmax(logits.astype(jnp.float32))
    log_probs = adjusted(own, flat, flat_places, search).reshape(rows, k, -1) + state.log_probs[..., None]
    own = own.reshape(rows, k, -1) + state.running_own[..., None]
    vocab = log_probs.shape[-1]
    log_probs, best = jax.lax.top_k(log_probs.reshape(rows, -1), 2 * k)
    own, token, beam = _take(own.reshape(rows, -1), best), best % vocab, best // vocab
    texts = jnp.where(
        jnp.arange(search.max_length) == places[:, None, None], token[..., None], _take(state.running, beam)
    )
    is_last = places + 1 >= search.max_length
    ends = (token == search.end) | is_last[:, None]

    running_log_probs, going = jax.lax.top_k(jnp.where(ends, log_probs + _NEVER, log_probs), k)
    # A text that ends is taken where it is among the best k, and its row still open.
    length = (places + 1 - lengths).astype(jnp.float32)[:, None]
    allowed = ends & (jnp.arange(2 * k) < k) & state.open[:, None]
    scores = jnp.where(allowed, log_probs / length**search.length_penalty, _NEVER)
    scores, kept = jax.lax.top_k(jnp.concatenate([state.scores, scores], axis=1), k)

    def best_of(before: jax.Array, new: jax.Array) -> jax.Array:
        return _take(jnp.concatenate([before, new], axis=1), kept)

    is_finished = best_of(state.is_finished, allowed)
    # Taken to have the present length, which is an estimate: with a penalty a longer text may do better.
    possible = running_log_probs[:, 0] / length[:, 0] ** search.length_penalty
    full = is_finished.all(1)
    hopeless = full if search.early_stopping else full & (possible <= scores[:, -1])
    first_beam = k * jnp.arange(rows)[:, None]
    return _Beams(
        places=places + (state.open & ~is_last),
        running=_take(texts, going),
        log_probs=running_log_probs,
        running_own=_take(own, going),
        finished=best_of(state.finished, texts),
        scores=scores,
        finished_own=best_of(state.finished_own, own),
        ends=best_of(state.ends, jnp.broadcast_to(places[:, None] + 1, ends.shape)),
        is_finished=is_finished,
        open=state.open & ~hopeless & ~is_last,
        memory=rows_of(memory, (first_beam + _take(beam, going)).reshape(-1)),
    )


def rows_of(memory: Any, rows: jax.Array) -> Any:
    """The memory with its `rows`, numbers that may repeat."""
    return jax.tree.map(lambda x: jnp.take(x, rows, axis=-4), memory)


def _take(x: jax.Array, chosen: jax.Array) -> jax.Array:
    """Entries `chosen` [rows, n] of the second dim of `x`."""
    return jnp.take_along_axis(x, chosen.reshape(chosen.shape + (1,) * (x.ndim - 2)), axis=1)
