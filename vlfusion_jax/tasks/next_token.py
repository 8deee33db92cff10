"""What writing is learned by: at every token, the prediction of the next one."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.ops.losses import smoothed_cross_entropy
from vlfusion_jax.tasks.task import Batch, Metrics


@dataclass(frozen=True)
class NextToken:
    """Cross-entropy of the next token, a sum over all that count; of the last one of a row none does.

    Attributes:
      vocab: number of words.
      smoothing: share of a target that is spread over all words.
      name: of the task and of its head.
      view: of the texts to be written.
      accuracy: name of the metric.
    """

    vocab: int
    smoothing: float
    name: str
    view: str
    accuracy: str

    @property
    def heads(self) -> tuple[str, ...]:
        return (self.name,)

    def weight(self, batch: Batch) -> jax.Array:
        """Number of tokens that count."""
        return self._counted(batch).sum()

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        losses = smoothed_cross_entropy(output.logits[self.name], self._next(batch), self.smoothing, self.vocab)
        return (losses * self._counted(batch)).sum()

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        """Share of tokens that are the most probable ones behind the text's own."""
        right = jnp.argmax(output.logits[self.name], axis=-1) == self._next(batch)
        counted = self._counted(batch)
        return {self.accuracy: ((right * counted).sum(), counted.sum())}

    def _counted(self, batch: Batch) -> jax.Array:
        """[rows, tokens] f32, 1 where the next token is predicted."""
        return batch[names.key(self.view, names.WORD_WEIGHTS)]

    def _next(self, batch: Batch) -> jax.Array:
        """Behind each token the next one; behind the last, whose weight is 0, whatever comes."""
        return jnp.roll(batch[names.key(self.view, names.TARGET)], -1, axis=1)
