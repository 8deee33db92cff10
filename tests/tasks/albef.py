"""ALBEF's contrast with a momentum encoder (Li et al. 2021, eq. 1, 2 and 6), one row at a time in NumPy float64."""

from typing import Any

import numpy as np

from vlfusion_jax.tasks import itc


def same_of(batch: dict[str, Any]) -> np.ndarray:
    """Which texts belong to which images: those of one record, and those that read the same; none without a text."""
    n, records, texts, weights = len(batch[itc.RECORD]), batch[itc.RECORD], batch[itc.TEXT], batch[itc.WEIGHT]
    same = np.zeros((n, n), bool)
    for i in range(n):
        for j in range(n):
            alike = records[i] == records[j] or list(texts[i]) == list(texts[j])
            same[i, j] = alike and weights[i] > 0 and weights[j] > 0
    return same


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x - x.max()).sum()) - x.max()


def taught_loss(
    text: np.ndarray, image: np.ndarray, batch: dict[str, Any], scale: float, scale_of_targets: float
) -> float:
    """Sum over the pairs of both ways' loss against the teacher's vectors of the batch, and those of the queue."""
    keep = np.concatenate([batch[itc.WEIGHT] > 0, batch[itc.QUEUE_RECORD] >= 0])
    positive = np.concatenate([same_of(batch), batch[itc.RECORD][:, None] == batch[itc.QUEUE_RECORD]], axis=1)
    share, total = batch[itc.SOFT_SHARE], 0.0
    for own, teacher, other, queue in (
        (image, itc.TEACHER_IMAGE, itc.TEACHER_TEXT, itc.QUEUE_TEXT),
        (text, itc.TEACHER_TEXT, itc.TEACHER_IMAGE, itc.QUEUE_IMAGE),
    ):
        others = np.concatenate([batch[other], batch[queue]]).astype(np.float64)[keep]
        for i in np.flatnonzero(batch[itc.WEIGHT]):
            hard = positive[i][keep] / positive[i][keep].sum()
            soft = np.exp(log_softmax(scale_of_targets * others @ batch[teacher][i].astype(np.float64)))
            log_probs = log_softmax(scale * others @ own[i].astype(np.float64))
            total -= ((share * soft + (1 - share) * hard) * log_probs).sum() / 2
    return total
