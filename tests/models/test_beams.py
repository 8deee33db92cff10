"""Beam search over a known distribution, against all texts that there are."""

import itertools

import numpy as np
import pytest

from tests.models.test_search import (
    END,
    FIRST,
    LENGTH,
    MASK,
    PAD,
    PROMPT,
    VOCAB,
    chain,
    log_probability,
    next_of,
    texts_of,
)  # fmt: skip
from vlfusion_jax.models.beams import beam_search
from vlfusion_jax.models.search import Search

__all__ = ["chain"]  # a fixture


def all_texts(first: tuple[int, ...]) -> list[tuple[int, ...]]:
    """That begin so and end, or are as long as can be."""
    words, room, texts = [word for word in range(VOCAB) if word != END], LENGTH - len(first), []
    for count in range(room):
        for middle in itertools.product(words, repeat=count):
            texts.append((*first, *middle, END))
            if count == room - 1:
                texts += [(*first, *middle, word) for word in words]
    return texts


@pytest.mark.parametrize("penalty", [0.0, 1.5])
def test_many_beams_find_the_text_of_the_best_score(chain, penalty):
    search = Search(END, PAD, beams=81, max_length=LENGTH, length_penalty=penalty, min_length=4)
    written = beam_search(next_of(chain), None, PROMPT, MASK, search)
    for i, (first, text) in enumerate(zip(FIRST, texts_of(written), strict=True)):
        scores = {
            each: log_probability(chain, each, len(first)) / (len(each) - len(first)) ** penalty
            for each in all_texts(first)
            if len(each) > search.min_length
        }
        assert text == max(scores, key=scores.get)
        assert float(written.scores[i]) == pytest.approx(scores[text], abs=1e-5)
        assert float(written.log_probs[i]) == pytest.approx(log_probability(chain, text, len(first)), abs=1e-5)


@pytest.mark.parametrize("early", [False, True])
def test_other_rows_do_not_matter(chain, early):
    search = Search(END, PAD, beams=2, max_length=LENGTH, early_stopping=early, repetition_penalty=1.2)
    together = beam_search(next_of(chain), None, PROMPT, MASK, search)
    for i, (first, text) in enumerate(zip(FIRST, texts_of(together), strict=True)):
        prompt = np.array([first], np.int32)
        alone = beam_search(next_of(chain), None, prompt, np.ones_like(prompt), search)
        assert texts_of(alone) == [text]
        np.testing.assert_allclose([x[0] for x in alone[2:]], [x[i] for x in together[2:]], atol=1e-6)
