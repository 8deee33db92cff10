"""Image-text contrast: which texts and images of a batch belong together, from one vector of each."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.ops.attention import MASKED_SCORE
from vlfusion_jax.ops.contrastive import contrastive_cross_entropy, pairwise_sigmoid, same_pairs, shares
from vlfusion_jax.tasks.task import Batch, Metrics

TEXT = names.key(names.PLAIN, names.TEXT)
WEIGHT = names.key(names.PLAIN, names.CAPTION_WEIGHT)
RECORD = names.key(names.PLAIN, names.RECORD)
TEACHER_TEXT = names.key(names.PLAIN, names.TEACHER_TEXT)
TEACHER_IMAGE = names.key(names.PLAIN, names.TEACHER_IMAGE)
QUEUE_TEXT = names.key(names.PLAIN, names.QUEUE_TEXT)
QUEUE_IMAGE = names.key(names.PLAIN, names.QUEUE_IMAGE)
QUEUE_RECORD = names.key(names.PLAIN, names.QUEUE_RECORD)
SOFT_SHARE = names.key(names.PLAIN, names.SOFT_SHARE)


@dataclass(frozen=True)
class ImageTextContrast:
    """Mean over the pairs of both ways' cross-entropy over the whole batch, whatever devices it is on.

    An image and a text of the same record, or two texts that read the same, are never each other's negatives: they
    share the target (BLIP, Li et al. 2022). Where the batch holds vectors of a momentum encoder (`train.momentum`),
    each side is compared with those of the other, and of earlier batches, of whose texts only the records are known,
    and the targets are soft (ALBEF, Li et al. 2021, eq. 1, 2 and 6).

    Attributes:
      criterion: `softmax` (CLIP, Radford et al. 2021; ALBEF), or `sigmoid` of every pair (SigLIP, Zhai et al. 2023).
    """

    criterion: str = "softmax"
    name: str = names.ITC
    view: str = names.PLAIN
    heads: tuple[str, ...] = (names.CONTRASTIVE,)

    def weight(self, batch: Batch) -> jax.Array:
        return batch[WEIGHT].sum()

    @property
    def of_the_batch(self) -> tuple[str, ...]:
        """Entries of a batch that have no row for each image."""
        return QUEUE_TEXT, QUEUE_IMAGE, QUEUE_RECORD, SOFT_SHARE

    def vectors(self, output: FusionOutput) -> dict[str, jax.Array]:
        """All that the loss reads of a model: `text` and `image` [rows, width], `scale` and `bias` []."""
        found = output.logits[names.CONTRASTIVE]
        return {name: found[name] for name in (names.TEXT, names.IMAGE, names.SCALE, names.BIAS)}

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        return self.loss_of(self.vectors(output), batch)

    def loss_of(self, found: dict[str, jax.Array], batch: Batch) -> jax.Array:
        """`loss`, from what `vectors` gives."""
        valid = batch[WEIGHT]
        same = same_pairs(batch[RECORD], batch[TEXT], valid)
        if self.criterion == "sigmoid":
            losses = pairwise_sigmoid(_logits(found), same, valid)
        elif TEACHER_TEXT in batch:
            losses = _against_teacher(found, batch, same)
        else:
            logits = _logits(found)
            losses = sum(contrastive_cross_entropy(way, shares(same), valid) for way in (logits, logits.T)) / 2
        return (losses * valid).sum()

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        """`itc_accuracy`: share of texts and images whose most similar counterpart of the batch belongs to them."""
        return self.metrics_of(self.vectors(output), batch)

    def metrics_of(self, found: dict[str, jax.Array], batch: Batch) -> Metrics:
        """`metrics`, from what `vectors` gives."""
        valid, logits = batch[WEIGHT], _logits(found)
        same = same_pairs(batch[RECORD], batch[TEXT], valid)
        nearest = [jnp.argmax(jnp.where(valid > 0, way, MASKED_SCORE), axis=-1) for way in (logits, logits.T)]
        right = sum(jnp.take_along_axis(same, each[:, None], axis=1)[:, 0] for each in nearest)
        return {"itc_accuracy": ((right / 2 * valid).sum(), self.weight(batch))}


def _against_teacher(found: dict[str, jax.Array], batch: Batch, same: jax.Array) -> jax.Array:
    """[n] losses of a batch of n pairs against the vectors of the averaged model, of the batch and of the queue."""
    keep = jnp.concatenate([batch[WEIGHT] > 0, batch[QUEUE_RECORD] >= 0])
    positive = shares(jnp.concatenate([same, batch[RECORD][:, None] == batch[QUEUE_RECORD]], axis=1))
    share, total = batch[SOFT_SHARE], 0.0
    for own, teacher, other, queue in (
        (names.IMAGE, TEACHER_IMAGE, TEACHER_TEXT, QUEUE_TEXT),
        (names.TEXT, TEACHER_TEXT, TEACHER_IMAGE, QUEUE_IMAGE),
    ):
        others = jnp.concatenate([batch[other], batch[queue]])
        logits, soft = (found[names.SCALE] * _products(x, others) for x in (found[own], batch[teacher]))
        soft = jax.nn.softmax(jnp.where(keep, jax.lax.stop_gradient(soft), MASKED_SCORE), axis=-1)
        total = total + contrastive_cross_entropy(logits, share * soft + (1 - share) * positive, keep)
    return total / 2


def _logits(found: dict[str, jax.Array]) -> jax.Array:
    return found[names.SCALE] * _products(found[names.TEXT], found[names.IMAGE]) + found[names.BIAS]


def _products(x_nd: jax.Array, y_md: jax.Array) -> jax.Array:
    return jnp.matmul(x_nd, y_md.T, precision=jax.lax.Precision.HIGHEST)
