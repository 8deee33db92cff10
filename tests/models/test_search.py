"""The search that keeps one text, over a known distribution, and what it draws from."""

import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import TemperatureLogitsWarper, TopPLogitsWarper

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.search import Search, Written, adjusted, nucleus, single_search

VOCAB, END, PAD, LENGTH = 4, 3, 0, 5
# Of different lengths: the last one is padded.
PROMPT = np.array([[2, 1], [0, 2], [1, PAD]], np.int32)
MASK = np.array([[1, 1], [1, 1], [1, 0]], np.int32)
FIRST = [tuple(row[keep > 0].tolist()) for row, keep in zip(PROMPT, MASK, strict=True)]


@pytest.fixture(scope="module")
def chain() -> np.ndarray:
    """[words, words] logits of the next word: a Markov chain."""
    return np.random.default_rng(4).normal(size=(VOCAB, VOCAB)).astype(np.float32)


def next_of(chain: np.ndarray):
    """Of a model that remembers nothing."""
    return lambda tokens, places, memory: (jnp.asarray(chain)[tokens], memory)


def log_probability(chain: np.ndarray, text: tuple[int, ...], prompt: int) -> float:
    """Of all behind the prompt."""
    each = torch.tensor(chain).log_softmax(-1)
    return sum(float(each[a, b]) for a, b in itertools.pairwise(text[prompt - 1 :]))


def texts_of(written: Written) -> list[tuple[int, ...]]:
    assert (np.asarray(written.tokens)[np.asarray(written.mask) == 0] == PAD).all()
    pairs = zip(np.asarray(written.tokens), np.asarray(written.mask), strict=True)
    return [tuple(row[: keep.sum()].tolist()) for row, keep in pairs]


def test_greedy_takes_the_best_next_word(chain):
    search = Search(END, PAD, max_length=LENGTH, length_penalty=2.0)
    written = single_search(next_of(chain), None, PROMPT, MASK, search)
    for i, (first, text) in enumerate(zip(FIRST, texts_of(written), strict=True)):
        expected = list(first)
        while expected[-1] != END and len(expected) < LENGTH:
            expected.append(int(chain[expected[-1]].argmax()))
        assert text == tuple(expected)
        log_prob = log_probability(chain, text, len(first))
        assert float(written.log_probs[i]) == pytest.approx(log_prob, abs=1e-5)
        assert float(written.scores[i]) == pytest.approx(log_prob / (len(text) - len(first)) ** 2, abs=1e-5)


@pytest.mark.parametrize("top_p", [None, 0.8])
def test_other_rows_do_not_matter(chain, top_p):
    search, keys = Search(END, PAD, max_length=LENGTH, top_p=top_p), jax.random.split(jax.random.key(1), 3)
    together = texts_of(single_search(next_of(chain), None, PROMPT, MASK, search, keys))
    for i, (first, text) in enumerate(zip(FIRST, together, strict=True)):
        prompt = np.array([first], np.int32)
        alone = single_search(next_of(chain), None, prompt, np.ones_like(prompt), search, keys[i : i + 1])
        assert texts_of(alone) == [text]


@pytest.mark.parametrize(("top_p", "temperature"), [(0.3, 1.0), (0.7, 0.6), (0.9, 2.5), (1.0, 1.3), (1e-6, 1.0)])
def test_the_nucleus_of_transformers(top_p, temperature):
    logits = np.random.default_rng(0).normal(size=(50, 37)).astype(np.float32) * 2
    expected = TopPLogitsWarper(top_p)(None, TemperatureLogitsWarper(temperature)(None, torch.tensor(logits)))
    np.testing.assert_allclose(nucleus(jnp.asarray(logits), top_p, temperature), expected, rtol=1e-6)
    kept = np.isfinite(expected.numpy()).sum(1)
    assert (kept.min() < kept.max()) == (0.1 < top_p < 1)


def test_frequencies_of_draws():
    """Of two tokens behind the prompt, against their probabilities in float64; each row has a key of its own."""
    chain, count = np.random.default_rng(5).normal(size=(VOCAB, VOCAB)), 20_000
    search = Search(END, PAD, max_length=3, top_p=0.85, temperature=1.5)
    keys, prompt = jax.random.split(jax.random.key(0), count), np.ones((count, 1), np.int32)
    drawn = texts_of(single_search(next_of(chain.astype(np.float32)), None, prompt, np.ones_like(prompt), search, keys))
    warped = TopPLogitsWarper(0.85)(None, TemperatureLogitsWarper(1.5)(None, torch.tensor(chain)))
    probabilities, expected = warped.softmax(-1).numpy(), {}
    for a in range(VOCAB):
        for b in range(VOCAB):
            text = (1, a) if a == END else (1, a, b)
            expected[text] = probabilities[1, a] * (1 if a == END else probabilities[a, b])
    counts = Counter(drawn)
    assert set(counts) == {text for text, probability in expected.items() if probability > 0}
    assert len(counts) < len(expected)
    for text, probability in expected.items():
        assert abs(counts[text] / count - probability) <= 5 * (probability * (1 - probability) / count) ** 0.5


def test_what_has_been_said_is_less_probable_and_nothing_ends_early():
    """Tokens behind a row's own place have not been said."""
    scores = np.array([[1.0, -1.0, 2.0, 3.0], [1.0, -1.0, 2.0, 3.0]], np.float32)
    tokens, places = np.array([[0, 1, 2], [0, 1, 2]], np.int32), np.array([2, 3], np.int32)
    search = Search(END, PAD, min_length=3, repetition_penalty=2.0)
    found = adjusted(jnp.asarray(scores), jnp.asarray(tokens), jnp.asarray(places), search)
    np.testing.assert_array_equal(found, [[0.5, -2, 2, -np.inf], [0.5, -2, 1, 3]])


def test_a_prompt_without_room_is_refused(chain):
    with pytest.raises(UserError, match="max_length 2 leaves no room behind a prompt of 2 tokens"):
        single_search(next_of(chain), None, PROMPT, MASK, Search(END, PAD, max_length=2))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"beams": 0}, "beams is 0; it must be at least 1"),
        ({"min_length": 21}, "min_length is 21, more than max_length, 20"),
        ({"repetition_penalty": 0.0}, r"repetition_penalty is 0\.0; it must be above 0"),
        ({"top_p": 0.5, "temperature": 0.0}, r"temperature is 0\.0; it must be above 0"),
        ({"temperature": 0.5}, r"temperature is 0\.5, but nothing is drawn: set top_p"),
        ({"top_p": 1.5}, r"top_p is 1\.5; it must be above 0 and at most 1"),
        ({"top_p": 0.5, "beams": 2}, r"top_p is 0\.5 and beams is 2: draw with 1 beam"),
    ],
)
def test_a_search_that_means_nothing_is_refused(how, message):
    with pytest.raises(UserError, match=message):
        Search(END, PAD, **how)
