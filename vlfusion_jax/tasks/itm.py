"""Image-text matching: does the text belong to the image?"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.ops.contrastive import other_pairs, same_pairs
from vlfusion_jax.ops.losses import cross_entropy
from vlfusion_jax.tasks.task import Batch, Metrics

LABEL = names.key(names.MATCH, names.ITM_LABEL)
WEIGHT = names.key(names.MATCH, names.ITM_WEIGHT)
TEXT = names.key(names.PLAIN, names.TEXT)
RECORD = names.key(names.PLAIN, names.RECORD)
CAPTION_WEIGHT = names.key(names.PLAIN, names.CAPTION_WEIGHT)


@dataclass(frozen=True)
class ImageTextMatching:
    """Two-class cross-entropy, a mean over the pairs.

    Attributes:
      view: `MATCH`, where half of the images have a foreign caption (ViLT, Kim et al. 2021, section 4.2), or `HARD`,
        pairs made of the batch's own texts and images (ALBEF, Li et al. 2021, section 3.2).
    """

    view: str = names.MATCH
    name: str = names.ITM
    heads: tuple[str, ...] = (names.ITM,)

    def weight(self, batch: Batch) -> jax.Array:
        return pair_weights(batch, self.view).sum()

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        losses = cross_entropy(output.logits[names.ITM], pair_labels(batch, self.view))
        return (losses * pair_weights(batch, self.view)).sum()

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        right = jnp.argmax(output.logits[names.ITM], axis=-1) == pair_labels(batch, self.view)
        return {"itm_accuracy": ((right * pair_weights(batch, self.view)).sum(), self.weight(batch))}


def pair_labels(batch: Batch, view: str) -> jax.Array:
    """[pairs] int32, 1 = they match. Of `HARD` n that do, then n images with other texts, n texts with other images."""
    if view == names.MATCH:
        return batch[LABEL]
    n = len(batch[RECORD])
    return (jnp.arange(3 * n) < n).astype(jnp.int32)


def pair_weights(batch: Batch, view: str) -> jax.Array:
    """[pairs] f32: 0 where the image has no caption, or where the batch has nothing else for it to be paired with."""
    if view == names.MATCH:
        return batch[WEIGHT]
    valid = batch[CAPTION_WEIGHT]
    others = other_pairs(same_pairs(batch[RECORD], batch[TEXT], valid), valid).any(-1)
    return jnp.concatenate([valid, valid * others, valid * others])
