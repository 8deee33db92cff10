"""Visual question answering by writing: the answer word by word, each from image, question and the words before it."""

from dataclasses import dataclass

import jax

from vlfusion_jax.core import names
from vlfusion_jax.tasks.next_token import NextToken
from vlfusion_jax.tasks.task import Batch


@dataclass(frozen=True)
class AnswerWriting(NextToken):
    """Cross-entropy of the answer's tokens, a sum over those of an answer, a mean over the questions of the batch.

    So it is in BLIP (Li et al. 2022, section 5.3; models/blip_vqa.py of their code), where every answer of a question
    counts by its share of the annotators. Here a question comes with one of its answers, drawn by their scores
    (`data.examples.draw_answer`), an unbiased estimate of the sum that is weighted by the shares of the scores. Any
    answer counts, a class of the run's vocabulary or not.

    `BlipForQuestionAnswering` of `transformers` has the mean over all tokens: this loss times the number of questions,
    over the number of tokens. Of answers that are drawn that would be no estimate of anything.

    BLIP's code smooths by 0.1 (models/med.py).
    """

    smoothing: float = 0.0
    name: str = names.ANSWER
    view: str = names.ANSWERED
    accuracy: str = "answer_token_accuracy"

    def weight(self, batch: Batch) -> jax.Array:
        """Number of questions that have an answer."""
        return self._counted(batch).max(axis=1).sum()
