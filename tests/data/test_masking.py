"""Masking: rate, 80/10/10 within binomial bounds, whole words, special tokens, room."""

import math

import numpy as np
import pytest

from vlfusion_jax.data.masking import mask_tokens, max_predictions

MASK = 4
ORDINARY = np.arange(5, 1005)


def text(words: list[int], length: int) -> tuple[np.ndarray, np.ndarray]:
    """A text whose word w has words[w] pieces, between two ends and padded: (ids, word numbers), each [length]."""
    numbers = [-1, *(w for w, pieces in enumerate(words) for _ in range(pieces)), -1]
    numbers += [-1] * (length - len(numbers))
    ids = [100 + i if w >= 0 else 0 for i, w in enumerate(numbers)]
    return np.array(ids, np.int32), np.array(numbers, np.int32)


def apply(ids, words, rng, rate=0.15, whole_word=False):
    return mask_tokens(ids, words, rng, rate=rate, whole_word=whole_word, mask_id=MASK, ordinary_ids=ORDINARY)


def close(count: int, draws: int, share: float) -> bool:
    """Within five binomial standard deviations."""
    return abs(count - draws * share) < 5 * math.sqrt(draws * share * (1 - share))


def test_eighty_ten_ten_and_every_position_alike():
    ids, words = text([1] * 40, 64)
    rng = np.random.default_rng(0)
    fates, places, replacements = np.zeros(3, int), np.zeros(64, int), []
    for _ in range(3000):
        masked = apply(ids, words, rng)
        real = masked.positions[masked.weights == 1]
        assert len(real) == 6 == round(0.15 * 40)
        shown, true = masked.ids[real], ids[real]
        np.testing.assert_array_equal(masked.labels[: len(real)], true)
        fates += [(shown == MASK).sum(), ((shown != MASK) & (shown != true)).sum(), (shown == true).sum()]
        replacements += shown[(shown != MASK) & (shown != true)].tolist()
        places[real] += 1
        untouched = np.setdiff1d(np.arange(64), real)
        np.testing.assert_array_equal(masked.ids[untouched], ids[untouched])
    draws = fates.sum()
    assert draws == 18000
    assert all(close(int(count), draws, share) for count, share in zip(fates, (0.8, 0.1, 0.1), strict=True)), fates
    assert places[words < 0].sum() == 0, "special tokens and padding are never hidden"
    assert all(close(int(count), 3000, 0.15) for count in places[words >= 0])
    assert set(replacements) <= set(ORDINARY.tolist())
    assert len(set(replacements)) > 700, "random tokens come from the whole vocabulary"


@pytest.mark.parametrize(("count", "hidden"), [(0, 0), (1, 1), (2, 1), (3, 1), (10, 2), (20, 3), (30, 4), (46, 7)])
@pytest.mark.parametrize("whole_word", [False, True])
def test_number_of_predictions(count, hidden, whole_word):
    ids, words = text([1] * count, 48)
    masked = apply(ids, words, np.random.default_rng(0), whole_word=whole_word)
    assert masked.positions.shape == masked.labels.shape == masked.weights.shape == (max_predictions(0.15, 48),) == (7,)
    assert masked.weights.sum() == hidden
    np.testing.assert_array_equal(masked.weights, np.arange(7) < hidden)
    assert (np.diff(masked.positions[:hidden]) > 0).all()
    for padded in (masked.positions, masked.labels):
        assert (padded[hidden:] == 0).all()
    assert (masked.ids.dtype, masked.positions.dtype, masked.labels.dtype) == (np.int32,) * 3
    assert masked.weights.dtype == np.float32


def test_room():
    assert [max_predictions(0.15, length) for length in (2, 3, 9, 16, 22, 48)] == [1, 1, 2, 3, 3, 7]


def test_whole_words_are_hidden_together():
    ids, words = text([1, 3, 2, 1, 4, 1, 1, 2, 1, 1, 2, 1, 1, 1, 2], 32)
    rng = np.random.default_rng(0)
    hidden = np.zeros(15, int)
    for _ in range(2000):
        masked = apply(ids, words, rng, rate=0.2, whole_word=True)
        chosen = set(masked.positions[masked.weights == 1].tolist())
        assert 1 <= len(chosen) <= 5
        for word in range(15):
            pieces = set(np.flatnonzero(words == word).tolist())
            assert pieces <= chosen or not pieces & chosen
            hidden[word] += pieces <= chosen
    assert (hidden > 100).all(), "every word is hidden at times, long ones too"


def test_whole_word_longer_than_the_budget():
    ids, words = text([4], 32)
    masked = apply(ids, words, np.random.default_rng(0), whole_word=True)
    assert masked.weights.sum() == 4, "room is 5: hidden whole, though 15 % would be one piece"
    ids, words = text([30], 32)
    assert apply(ids, words, np.random.default_rng(0), whole_word=True).weights.sum() == 5


def test_input_is_left_alone():
    ids, words = text([1] * 20, 32)
    before = ids.copy()
    ids.flags.writeable = False
    apply(ids, words, np.random.default_rng(0))
    np.testing.assert_array_equal(ids, before)
