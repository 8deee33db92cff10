"""How a text is looked for, and the search that keeps one at a time: greedy, or by draws from the nucleus.

Searches are pure functions and give what `transformers` gives. Of a model they know only a function to the next
token's logits, and its memory. Every row has its own place in its buffer: texts begin with prompts of different
lengths, and each becomes what it becomes alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vlfusion_jax.core.errors import UserError

# (the last tokens [rows], their places [rows], memory) → (logits [rows, vocab] of the tokens behind, memory).
# Memory is a tree of arrays [..., rows, heads, length, width].
Next = Callable[[jax.Array, jax.Array, Any], tuple[jax.Array, Any]]


@dataclass(frozen=True)
class Search:
    """How a text is looked for; the defaults are those of `transformers`.

    Attributes:
      end: id of the token that ends a text.
      pad: id that fills the rest.
      beams: texts that are kept at a time; 1 = one, without a look back.
      max_length: tokens of the longest text, its prompt and end included.
      min_length: tokens, the prompt included, before which a text does not end.
      length_penalty: score of a finished text is its log-probability divided by its length, without the prompt, to this
        power: above 0 favours long texts.
      repetition_penalty: by which scores of tokens that a text already has are made worse (Keskar et al. 2019, section
        4.1); 1 = not at all.
      early_stopping: whether a search ends with as many finished texts as beams, not only where no better can come.
      top_p: tokens are drawn from the nucleus, the fewest that together have this probability (Holtzman et al. 2020,
        section 3.1); 1 = from all, None = the most probable one is taken.
      temperature: by which logits are divided before that.

    Raises:
      UserError: a value that means nothing.
    """

    end: int
    pad: int
    beams: int = 1
    max_length: int = 20
    min_length: int = 0
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    early_stopping: bool = False
    top_p: float | None = None
    temperature: float = 1.0

    def __post_init__(self):
        if self.beams < 1:
            raise UserError(f"beams is {self.beams}; it must be at least 1.")
        if self.min_length > self.max_length:
            raise UserError(f"min_length is {self.min_length}, more than max_length, {self.max_length}.")
        if self.repetition_penalty <= 0:
            raise UserError(f"repetition_penalty is {self.repetition_penalty}; it must be above 0, 1 = none.")
        if self.temperature <= 0:
            raise UserError(f"temperature is {self.temperature}; it must be above 0.")
        if self.top_p is None:
            if self.temperature != 1:
                raise UserError(f"temperature is {self.temperature}, but nothing is drawn: set top_p, 1 = any token.")
            return
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p is {self.top_p}; it must be above 0 and at most 1.")
        if self.beams > 1:
            raise UserError(f"top_p is {self.top_p} and beams is {self.beams}: draw with 1 beam, or leave top_p out.")


class Written(NamedTuple):
    """Texts, one a row.

    Attributes:
      tokens: [rows, max_length] int32, prompt and end included, padded.
      mask: [rows, max_length] int32, 1 = token.
      log_probs: [rows] f32, of all behind the prompt, as the model gives them.
      scores: [rows] f32, log-probabilities by which beams are searched, divided as `Search.length_penalty` says; of
        other searches `log_probs` divided so.
    """

    tokens: jax.Array
    mask: jax.Array
    log_probs: jax.Array
    scores: jax.Array


class _One(NamedTuple):
    """State of a search that keeps one text for each of r rows.

    Attributes:
      tokens: [r, length] so far.
      places: [r] of the next token.
      log_probs: [r].
      open: [r], whether the text goes on.
      memory: of the model.
    """

    tokens: jax.Array
    places: jax.Array
    log_probs: jax.Array
    open: jax.Array
    memory: Any


def single_search(
    next_of: Next, memory: Any, prompt: jax.Array, mask: jax.Array, search: Search, keys: jax.Array | None = None
) -> Written:
    """The most probable token again and again, or one drawn as `search.top_p` says.

    Args:
      next_of: of the model.
      memory: with which it reads the last token of each prompt.
      prompt: [rows, p] how every text begins, at least a token; its padding stands behind it.
      mask: [rows, p], 1 = token.
      search: how to look.
      keys: [rows] for draws: a text depends on its own alone, not on the rows beside it.

    Raises:
      UserError: there is no room behind a prompt.
    """
    tokens, lengths = begun(prompt, mask, search)
    rows = jnp.arange(len(tokens))

    def step(state: _One) -> _One:
        logits, memory = next_of(state.tokens[rows, state.places - 1], state.places - 1, state.memory)
        logits = logits.astype(jnp.float32)
        scores = adjusted(logits, state.tokens, state.places, search)
        if search.top_p is None:
            chosen = jnp.argmax(scores, axis=-1)
        else:
            drawn = jax.vmap(jax.random.fold_in)(keys, state.places)
            chosen = jax.vmap(jax.random.categorical)(drawn, nucleus(scores, search.top_p, search.temperature))
        longer = _put(state.tokens, state.places, chosen)
        return _One(
            tokens=jnp.where(state.open[:, None], longer, state.tokens),
            places=state.places + state.open,
            log_probs=state.log_probs + jnp.where(state.open, jax.nn.log_softmax(logits)[rows, chosen], 0),
            open=state.open & (chosen != search.end) & (state.places + 1 < search.max_length),
            memory=memory,
        )

    every = jnp.ones(len(tokens), bool)
    first = _One(tokens, lengths, jnp.zeros(len(tokens)), every, memory)
    last = jax.lax.while_loop(lambda state: state.open.any(), step, first)
    scores = last.log_probs / (last.places - lengths).astype(jnp.float32) ** search.length_penalty
    return Written(*padded(last.tokens, last.places, search), last.log_probs, scores)


def adjusted(scores: jax.Array, tokens: jax.Array, places: jax.Array, search: Search) -> jax.Array:
    """Scores [rows, vocab] after the repetition penalty and the shortest length.

    Args:
      scores: logits or log-probabilities of the next token.
      tokens: [rows, length] buffers.
      places: [rows] of the next token.
      search: says how.
    """
    if search.repetition_penalty != 1:
        rows = jnp.arange(len(tokens))[:, None]
        seen = jnp.zeros(scores.shape, bool).at[rows, tokens].max(jnp.arange(tokens.shape[1]) < places[:, None])
        worse = jnp.where(scores < 0, scores * search.repetition_penalty, scores / search.repetition_penalty)
        scores = jnp.where(seen, worse, scores)
    too_short = (jnp.arange(scores.shape[-1]) == search.end) & (places < search.min_length)[:, None]
    return jnp.where(too_short, -jnp.inf, scores)


def nucleus(logits: jax.Array, top_p: float, temperature: float) -> jax.Array:
    """Logits [..., vocab] divided by the temperature, minus infinity outside of the nucleus; see `Search`."""
    logits = logits / temperature
    best = jnp.argsort(-logits, axis=-1)
    probabilities = jnp.take_along_axis(jax.nn.softmax(logits, axis=-1), best, axis=-1)
    # A token is in it where the better ones do not reach `top_p`.
    inside = jnp.cumsum(probabilities, axis=-1) - probabilities < top_p
    inside = jnp.take_along_axis(inside, jnp.argsort(best, axis=-1), axis=-1)
    return jnp.where(inside, logits, -jnp.inf)


def begun(prompt: jax.Array, mask: jax.Array, search: Search) -> tuple[jax.Array, jax.Array]:
    """Buffers [rows, max_length] that begin with the prompts, and the prompts' lengths [rows]."""
    room = search.max_length - prompt.shape[1]
    if room < 1:
        raise UserError(f"max_length {search.max_length} leaves no room behind a prompt of {prompt.shape[1]} tokens.")
    tokens = jnp.where(mask > 0, prompt, search.pad).astype(jnp.int32)
    return jnp.pad(tokens, ((0, 0), (0, room)), constant_values=search.pad), mask.sum(1, dtype=jnp.int32)


def padded(tokens: jax.Array, ends: jax.Array, search: Search) -> tuple[jax.Array, jax.Array]:
    """Texts up to their ends [rows], and their mask."""
    mask = jnp.arange(tokens.shape[1]) < ends[:, None]
    return jnp.where(mask, tokens, search.pad), mask.astype(jnp.int32)


def _put(tokens: jax.Array, places: jax.Array, chosen: jax.Array) -> jax.Array:
    return jnp.where(jnp.arange(tokens.shape[1]) == places[:, None], chosen[:, None], tokens)
