"""From answer logits to answers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Answer(NamedTuple):
    """An answer of the vocabulary with its probability: softmax for `ce`, for `bce` a sigmoid of its own."""

    text: str
    probability: float


def best_answers(logits: np.ndarray, answers: Sequence[str], loss: str, top: int) -> list[list[Answer]]:
    """The `top` most probable answers of each row, best first.

    Args:
      logits: [rows, classes]; classes beyond the answers are padding.
      answers: names of the classes.
      loss: `tasks.vqa.loss` that the model was trained by.
      top: how many.
    """
    logits = logits[:, : len(answers)].astype(np.float64)
    if loss == "bce":
        probabilities = 1 / (1 + np.exp(-logits))
    else:
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities = exponentials / exponentials.sum(axis=-1, keepdims=True)
    return [[Answer(answers[i], float(row[i])) for i in np.argsort(-row, kind="stable")[:top]] for row in probabilities]
