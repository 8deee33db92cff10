"""Recall of retrieval, both ways, with one or several texts of an image."""

from collections.abc import Sequence

import numpy as np

DEPTHS = (1, 5, 10)


def recall_at(scores: np.ndarray, image_of_text: np.ndarray, depths: Sequence[int] = DEPTHS) -> dict[str, float]:
    """Share of queries with a right answer among the first k (Karpathy and Fei-Fei 2015, section 4.1).

    An image's answer is the best of its texts, a text's its image. Of equal scores the wrong ones come first: a model
    that tells nothing apart finds nothing.

    Args:
      scores: [images, texts], higher = more alike.
      image_of_text: [texts], the row of each text's image. Images without a text are no queries.
      depths: the ks.

    Returns:
      `text_recall@k` of images that look for their texts, `image_recall@k` of texts that look for their image.

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
    own = np.arange(len(scores))[:, None] == image_of_text
    best_own = np.where(own, scores, -np.inf).max(axis=1, initial=-np.inf)
    of_image = ((scores >= best_own[:, None]) & ~own).sum(axis=1)[own.any(axis=1)]
    of_text = ((scores >= scores[image_of_text, np.arange(scores.shape[1])]) & ~own).sum(axis=0)
    ranks = {"text": of_image, "image": of_text}
    return {f"{name}_recall@{k}": float((rank < k).mean()) for name, rank in ranks.items() for k in depths if len(rank)}
