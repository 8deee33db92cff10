"""Recall of retrieval, both ways, with one or several texts of an image."""

from collections.abc import Sequence

import numpy as np

DEPTHS = (1, 5, 10)
TEXT_TO_IMAGE, IMAGE_TO_TEXT = "text_to_image", "image_to_text"


def recall_at(scores: np.ndarray, image_of_text: np.ndarray, depths: Sequence[int] = DEPTHS) -> dict[str, float]:
    """Share of queries with a right answer among the first k (Karpathy and Fei-Fei 2015, section 4.1).

    An image's answer is the best of its texts, a text's its image. Of equal scores the wrong ones come first (the
    pessimistic rule): a model that tells nothing apart finds nothing.

    Args:
      scores: [images, texts], higher = more alike; -inf = not among what was looked at, never found.
      image_of_text: [texts], the row of each text's image. Images without a text are no queries.
      depths: the ks.

    Returns:
      `image_to_text_r{k}` of images that look for their texts, `text_to_image_r{k}` of texts that look for their image.

    Raises:
      ValueError: shapes do not fit, a score is no number, or a text's image is not there.
    """
    scores, image_of_text = np.asarray(scores), np.asarray(image_of_text)
    if scores.ndim != 2 or image_of_text.shape != scores.shape[1:]:
        raise ValueError(
            f"scores {scores.shape} of images and texts want one image for each text, not {image_of_text.shape}"
        )
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    if len(image_of_text) and not (0 <= image_of_text.min() <= image_of_text.max() < len(scores)):
        raise ValueError(f"a text's image is not one of the {len(scores)}")
    ranks = {TEXT_TO_IMAGE: _of_texts(scores, image_of_text), IMAGE_TO_TEXT: _of_images(scores, image_of_text)}
    return {f"{way}_r{k}": float((rank < k).mean()) for way, rank in ranks.items() for k in depths if len(rank)}


def _of_texts(scores: np.ndarray, image_of_text: np.ndarray) -> np.ndarray:
    """How many images come before that of each text: [texts]."""
    own = scores[image_of_text, np.arange(scores.shape[1])]
    before = (scores >= own).sum(axis=0) - 1  # itself
    return np.where(own > -np.inf, before, len(scores))


def _of_images(scores: np.ndarray, image_of_text: np.ndarray) -> np.ndarray:
    """How many texts of others come before the best of its own, for each image with texts: [queries]."""
    own = np.arange(len(scores))[:, None] == image_of_text
    best = np.where(own, scores, -np.inf).max(axis=1, initial=-np.inf)
    before = ((scores >= best[:, None]) & ~own).sum(axis=1)
    return np.where(best > -np.inf, before, scores.shape[1])[own.any(axis=1)]
