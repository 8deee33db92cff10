"""Captioning: the caption word by word, each from the image and the words before it."""

from dataclasses import dataclass

import jax

from vlfusion_jax.core import names
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.tasks.next_token import next_token_found, next_token_losses
from vlfusion_jax.tasks.task import Batch, Metrics

TOKENS = names.key(names.WRITTEN, names.TARGET)
WEIGHTS = names.key(names.WRITTEN, names.WORD_WEIGHTS)


@dataclass(frozen=True)
class Captioning:
    """Cross-entropy of the next token, a mean over all tokens of the batch behind the prompts, the last one included.

    Attributes:
      vocab: number of words.
      smoothing: share of a target that is spread over all words (BLIP, Li et al. 2022: 0.1).
    """

    vocab: int
    smoothing: float = 0.0
    name: str = names.CAPTION
    view: str = names.WRITTEN
    heads: tuple[str, ...] = (names.CAPTION,)

    def weight(self, batch: Batch) -> jax.Array:
        return batch[WEIGHTS].sum()

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        losses = next_token_losses(output.logits[names.CAPTION], batch[TOKENS], self.smoothing, self.vocab)
        return (losses * batch[WEIGHTS]).sum()

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        """`caption_accuracy`: share of tokens that are the most probable ones behind the caption's own."""
        found = next_token_found(output.logits[names.CAPTION], batch[TOKENS])
        return {"caption_accuracy": ((found * batch[WEIGHTS]).sum(), self.weight(batch))}
