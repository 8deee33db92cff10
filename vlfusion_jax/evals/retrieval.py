"""Recall of retrieval, both ways, with one or several texts of an image."""

from collections.abc import Sequence

import numpy as np

DEPTHS = (1, 5, 10)


def recall_at(
    text_to_image: np.ndarray, image_to_text: np.ndarray, image_of_text: np.ndarray, depths: Sequence[int] = DEPTHS
) -> dict[str, float]:
    """`text_to_image_recall` and `image_to_text_recall`, of scores [images, texts] that may differ by the way."""
    return text_to_image_recall(text_to_image, image_of_text, depths) | image_to_text_recall(
        image_to_text, image_of_text, depths
    )


def text_to_image_recall(
    scores: np.ndarray, image_of_text: np.ndarray, depths: Sequence[int] = DEPTHS
) -> dict[str, float]:
    """Share of texts whose image is among the first k (Karpathy and Fei-Fei 2015, section 4.1).

    Of equal scores the wrong ones come first (the pessimistic rule): a model that tells nothing apart finds nothing.

    Args:
      scores: [images, texts], higher = more alike; -inf = not among what was looked at, never found.
      image_of_text: [texts], the row of each text's image.
      depths: the ks.

    Returns:
      `text_to_image_r{k}` for each of `depths`; empty without a text.

    Raises:
      ValueError: shapes do not fit, a score is no number, or a text's image is not there.
    """
    scores, image_of_text = _checked(scores, image_of_text)
    own = scores[image_of_text, np.arange(scores.shape[1])]
    before = (scores >= own).sum(axis=0) - 1  # itself
    return _shares("text_to_image", np.where(own > -np.inf, before, np.inf), depths)


def image_to_text_recall(
    scores: np.ndarray, image_of_text: np.ndarray, depths: Sequence[int] = DEPTHS
) -> dict[str, float]:
    """Share of images with the best of their texts among the first k; otherwise as `text_to_image_recall`.

    Images without a text are no queries.
    """
    scores, image_of_text = _checked(scores, image_of_text)
    own = np.arange(len(scores))[:, None] == image_of_text
    best = np.where(own, scores, -np.inf).max(axis=1, initial=-np.inf)
    before = ((scores >= best[:, None]) & ~own).sum(axis=1)
    return _shares("image_to_text", np.where(best > -np.inf, before, np.inf)[own.any(axis=1)], depths)


def _checked(scores: np.ndarray, image_of_text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, image_of_text = np.asarray(scores), np.asarray(image_of_text)
    if scores.ndim != 2 or image_of_text.shape != scores.shape[1:]:
        raise ValueError(
            f"scores {scores.shape} of images and texts want one image for each text, not {image_of_text.shape}"
        )
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    if len(image_of_text) and not (0 <= image_of_text.min() <= image_of_text.max() < len(scores)):
        raise ValueError(f"a text's image is not one of the {len(scores)}")
    return scores, image_of_text


def _shares(way: str, before: np.ndarray, depths: Sequence[int]) -> dict[str, float]:
    """`before` [queries]: how many come before the first right answer."""
    return {f"{way}_r{k}": float((before < k).mean()) for k in depths if len(before)}
