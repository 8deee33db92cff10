"""Visual question answering as classification over an answer vocabulary."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.ops.losses import sparse_binary_cross_entropy, sparse_soft_cross_entropy
from vlfusion_jax.tasks.task import Batch, Metrics

IDS = names.key(names.QUESTION, names.ANSWER_IDS)
SCORES = names.key(names.QUESTION, names.ANSWER_SCORES)
WEIGHT = names.key(names.QUESTION, names.ANSWER_WEIGHT)
KINDS = names.key(names.QUESTION, names.KIND)


@dataclass(frozen=True)
class VisualQuestionAnswering:
    """Soft scores (`bce`) or a distribution (`ce`) over the answers, a mean over the questions.

    Attributes:
      answers: number of answers.
      kinds: question categories, each of which gets an accuracy of its own.
      criterion: `bce`, sigmoid cross-entropy summed over the answers (ViLT, LXMERT, UNITER), or `ce`, softmax
        cross-entropy against the scores normalised to one; with a hard label the ordinary cross-entropy.
    """

    answers: int
    kinds: tuple[str, ...] = ()
    criterion: str = "bce"
    name: str = names.VQA
    view: str = names.QUESTION
    heads: tuple[str, ...] = (names.VQA,)

    def weight(self, batch: Batch) -> jax.Array:
        return batch[WEIGHT].sum()

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        logits = output.logits[self.name]
        if self.criterion == "bce":
            valid = jnp.arange(logits.shape[-1]) < self.answers
            losses = sparse_binary_cross_entropy(logits, batch[IDS], batch[SCORES], valid)
        else:
            losses = sparse_soft_cross_entropy(logits, batch[IDS], batch[SCORES])
        return (losses * batch[WEIGHT]).sum()

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        """`accuracy` is the score of the best answer, which for a hard label is 1 or 0."""
        best = jnp.argmax(output.logits[self.name], axis=-1)
        score = (batch[SCORES] * (batch[IDS] == best[:, None])).sum(-1) * batch[WEIGHT]
        metrics = {"accuracy": (score.sum(), self.weight(batch))}
        for i, kind in enumerate(self.kinds):
            of_kind = batch[KINDS] == i
            metrics[f"accuracy_{kind}"] = ((score * of_kind).sum(), (batch[WEIGHT] * of_kind).sum())
        return metrics
