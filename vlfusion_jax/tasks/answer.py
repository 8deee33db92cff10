"""Visual question answering by writing: the answer word by word, each from image, question and the words before it."""

from dataclasses import dataclass

import jax

from vlfusion_jax.core import names
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.tasks.next_token import next_token_found, next_token_losses
from vlfusion_jax.tasks.task import Batch, Metrics

TOKENS = names.key(names.ANSWERED, names.TARGET)
WEIGHTS = names.key(names.ANSWERED, names.WORD_WEIGHTS)


@dataclass(frozen=True)
class AnswerWriting:
    """Cross-entropy of the answer's tokens, a sum over those of an answer, a mean over the questions of the batch.

    So it is in BLIP (Li et al. 2022, section 5.3; models/blip_vqa.py of their code), where every answer of a question
    counts by its share of the annotators. Here a question comes with one of its answers, drawn by their scores
    (`data.examples.draw_answer`), an unbiased estimate of the sum that is weighted by the shares of the scores. Any
    answer counts, a class of the run's vocabulary or not.

    `BlipForQuestionAnswering` of `transformers` has the mean over all tokens: this loss times the number of questions,
    over the number of tokens. Of answers that are drawn that would be no estimate of anything.

    Attributes:
      vocab: number of words.
      smoothing: share of a target that is spread over all words (BLIP's code, models/med.py: 0.1).
    """

    vocab: int
    smoothing: float = 0.0
    name: str = names.ANSWER
    view: str = names.ANSWERED
    heads: tuple[str, ...] = (names.ANSWER,)

    def weight(self, batch: Batch) -> jax.Array:
        """Number of questions that have an answer."""
        return batch[WEIGHTS].max(axis=1).sum()

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        losses = next_token_losses(output.logits[names.ANSWER], batch[TOKENS], self.smoothing, self.vocab)
        return (losses * batch[WEIGHTS]).sum()

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        """`answer_token_accuracy`: share of tokens that are the most probable ones behind the answer's own."""
        found = next_token_found(output.logits[names.ANSWER], batch[TOKENS])
        return {"answer_token_accuracy": ((found * batch[WEIGHTS]).sum(), batch[WEIGHTS].sum())}
