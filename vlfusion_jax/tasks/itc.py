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
    each side is compared with those of the other, and of earlier batches, and the targets are soft (ALBEF, Li et al.
    2021, eq. 1, 2 and 6).

    Attributes:
      criterion: `softmax` (CLIP, Radford et al. 2021; ALBEF), or `sigmoid` of every pair (SigLIP, Zhai et al. 2023).
    """

    criterion: str = "softmax"
    name: str = names.ITC
    view: str = names.PLAIN
    heads: tuple[str, ...] = (names.CONTRASTIVE,)

    def weight(self, batch: Batch) -> jax.Array:
        return batch[WEIGHT].sum()

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        found, valid = output.logits[names.CONTRASTIVE], batch[WEIGHT]
        same = same_pairs(batch[RECORD], batch[TEXT], valid)
        if self.criterion == "sigmoid":
            losses = pairwise_sigmoid(found["logits"], same, valid)
        elif TEACHER_TEXT in batch:
            losses = _against_teacher(found, batch, same)
        else:
            ways = (found["logits"], found["logits"].T)
            losses = sum(contrastive_cross_entropy(logits, shares(same), valid) for logits in ways) / 2
        return (losses * valid).sum()

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        """`itc_accuracy`: share of texts and images whose most similar counterpart of the batch belongs to them."""
        valid = batch[WEIGHT]
        same = same_pairs(batch[RECORD], batch[TEXT], valid)
        logits = jnp.where(valid > 0, output.logits[names.CONTRASTIVE]["logits"], MASKED_SCORE)
        right = sum(
            jnp.take_along_axis(same, jnp.argmax(way, axis=-1)[:, None], axis=1)[:, 0]
            for way in (logits, jnp.where(valid > 0, output.logits[names.CONTRASTIVE]["logits"].T, MASKED_SCORE))
        )
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
        logits, soft = (found["scale"] * _products(x, others) for x in (found[own], batch[teacher]))
        soft = jax.nn.softmax(jnp.where(keep, jax.lax.stop_gradient(soft), MASKED_SCORE), axis=-1)
        total = total + contrastive_cross_entropy(logits, share * soft + (1 - share) * positive, keep)
    return total / 2


def _products(x_nd: jax.Array, y_md: jax.Array) -> jax.Array:
    return jnp.matmul(x_nd, y_md.T, precision=jax.lax.Precision.HIGHEST)
