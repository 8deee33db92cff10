"""Recall against ranking by hand."""

import numpy as np
import pytest

from vlfusion_jax.evals.retrieval import recall_at


def by_sorting(scores, image_of_text, k):
    """(share of images whose text is among the first k, share of texts whose image is)."""
    images = [
        any(
            image_of_text[text] == image for text in sorted(range(scores.shape[1]), key=lambda t: -scores[image, t])[:k]
        )
        for image in range(len(scores))
        if image in image_of_text
    ]
    texts = [
        image_of_text[text] in sorted(range(len(scores)), key=lambda i: -scores[i, text])[:k]
        for text in range(scores.shape[1])
    ]
    return np.mean(images), np.mean(texts)


@pytest.mark.parametrize("seed", range(4))
def test_equals_sorting(seed):
    rng = np.random.default_rng(seed)
    images, texts = rng.integers(3, 12), rng.integers(5, 30)
    image_of_text = rng.integers(images, size=texts)  # several texts of an image, none of another
    scores = rng.permutation(images * texts).reshape(images, texts).astype(float)
    found = recall_at(scores, scores, image_of_text, depths=(1, 2, 7))
    for k in (1, 2, 7):
        assert (found[f"image_to_text_r{k}"], found[f"text_to_image_r{k}"]) == by_sorting(scores, image_of_text, k)


def test_a_model_that_tells_nothing_apart_finds_nothing():
    found = recall_at(*[np.zeros((20, 40))] * 2, np.arange(40) // 2)
    assert set(found.values()) == {0.0}
    assert len(found) == 6


def test_own_texts_of_equal_score_are_no_rivals():
    assert recall_at(*[np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])] * 2, np.array([0, 0, 1]), (1,)) == {
        "image_to_text_r1": 1.0,
        "text_to_image_r1": 1.0,
    }


def test_what_was_not_looked_at_is_never_found():
    """As by shortlists: neither image 1 nor its text has a score, whatever the depth."""
    scores = np.array([[2.0, -np.inf, 1.0], [3.0, -np.inf, -np.inf], [-np.inf, 5.0, 4.0]])
    found = recall_at(scores, scores, np.array([0, 1, 2]), (1, 3))
    assert found["image_to_text_r1"] == pytest.approx(1 / 3)
    assert found["text_to_image_r1"] == pytest.approx(1 / 3)
    assert found["image_to_text_r3"] == found["text_to_image_r3"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("scores", "image_of_text", "message"),
    [
        (np.zeros((2, 3)), [0, 1], "want one image for each text"),
        (np.zeros((2, 3)), [0, 1, 2], "is not one of the 2"),
        (np.full((2, 2), np.nan), [0, 1], "not a number"),
    ],
)
def test_mistakes(scores, image_of_text, message):
    with pytest.raises(ValueError, match=message):
        recall_at(scores, scores, np.array(image_of_text))
