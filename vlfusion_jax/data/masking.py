"""Masked language modelling on the host: which tokens to hide, and what to show instead.

Devlin et al. 2019, "BERT", section 3.1: 15 % of the tokens are predicted; 80 % of those become [MASK], 10 % a random
token, 10 % stay. Whole-word masking as in the authors' later release: the pieces of a word are chosen together.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Masked:
    """`ids` [T] int32 with masking applied; `positions`, `labels` [P] int32, `weights` [P] float32, then zeros."""

    ids: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    weights: np.ndarray


def max_predictions(rate: float, length: int) -> int:
    """P, the room for predictions in a text of `length` tokens with its two ends: max(1, ceil(rate * (length - 2)))."""
    return max(1, math.ceil(rate * (length - 2)))


def mask_tokens(
    ids: np.ndarray,
    words: np.ndarray,
    rng: np.random.Generator,
    *,
    rate: float,
    whole_word: bool,
    mask_id: int,
    ordinary_ids: np.ndarray,
) -> Masked:
    """Hide round(rate * n) of the n ordinary tokens of `ids` [T] int32, at least one where there is any.

    `words` [T] int32 numbers the word of each token, -1 marking special tokens, which are never hidden. Random
    replacements come from `ordinary_ids`. With `whole_word`, words are taken in random order while they fit into that
    number of tokens, and a first one in any case, cut only where it is longer than `max_predictions`.
    """
    room = max_predictions(rate, len(ids))
    candidates = np.flatnonzero(words >= 0)
    budget = min(max(1, round(rate * len(candidates))), room, len(candidates))
    if whole_word:
        chosen = _choose_words(candidates, words, rng, budget, room)
    else:
        chosen = rng.choice(candidates, budget, replace=False) if budget else candidates
    chosen = np.sort(chosen)

    hidden = ids.copy()
    fate = rng.random(len(chosen))
    hidden[chosen[fate < 0.8]] = mask_id
    replaced = chosen[(fate >= 0.8) & (fate < 0.9)]
    hidden[replaced] = rng.choice(ordinary_ids, len(replaced))

    positions, labels, weights = np.zeros(room, np.int32), np.zeros(room, np.int32), np.zeros(room, np.float32)
    positions[: len(chosen)] = chosen
    labels[: len(chosen)] = ids[chosen]
    weights[: len(chosen)] = 1
    return Masked(hidden, positions, labels, weights)


def _choose_words(
    candidates: np.ndarray, words: np.ndarray, rng: np.random.Generator, budget: int, room: int
) -> np.ndarray:
    chosen: list[int] = []
    for word in rng.permutation(np.unique(words[candidates])):
        pieces = np.flatnonzero(words == word)
        if len(chosen) + len(pieces) <= budget:
            chosen.extend(pieces)
    if not chosen and len(candidates):
        chosen.extend(np.flatnonzero(words == rng.choice(words[candidates]))[:room])
    return np.array(chosen, np.int64)
