"""Captioning: the caption word by word, each from the image and the words before it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.ops.losses import smoothed_cross_entropy
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
        losses = smoothed_cross_entropy(output.logits[names.CAPTION], _next(batch[TOKENS]), self.smoothing, self.vocab)
        return (losses * batch[WEIGHTS]).sum()

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        """`caption_accuracy`: share of tokens that are the most probable ones behind the caption's own."""
        right = jnp.argmax(output.logits[names.CAPTION], axis=-1) == _next(batch[TOKENS])
        return {"caption_accuracy": ((right * batch[WEIGHTS]).sum(), self.weight(batch))}


def _next(tokens_bt: jax.Array) -> jax.Array:
    """Behind each token the next one; behind the last, whose weight is 0, whatever comes."""
    return jnp.roll(tokens_bt, -1, axis=1)
