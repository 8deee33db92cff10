"""Reasoning about two images (NLVR2, Suhr et al. 2019): is the statement true of the pair?"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.ops.losses import cross_entropy
from vlfusion_jax.tasks.task import Batch, Metrics

LABEL = names.key(names.STATEMENT, names.NLVR_LABEL)
WEIGHT = names.key(names.STATEMENT, names.NLVR_WEIGHT)


@dataclass(frozen=True)
class VisualReasoning:
    """Two-class cross-entropy, a mean over the pairs of images; class 1 is true."""

    name: str = names.NLVR
    view: str = names.STATEMENT
    heads: tuple[str, ...] = (names.NLVR,)

    def weight(self, batch: Batch) -> jax.Array:
        return batch[WEIGHT].sum()

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        return (cross_entropy(output.logits[names.NLVR], batch[LABEL]) * batch[WEIGHT]).sum()

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        right = jnp.argmax(output.logits[names.NLVR], axis=-1) == batch[LABEL]
        return {"accuracy": ((right * batch[WEIGHT]).sum(), self.weight(batch))}
