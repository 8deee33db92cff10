"""Image-text matching (ViLT, Kim et al. 2021, section 4.2): does the caption belong to the image?"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.ops.losses import cross_entropy
from vlfusion_jax.tasks.task import Batch, Metrics

LABEL = names.key(names.MATCH, names.ITM_LABEL)
WEIGHT = names.key(names.MATCH, names.ITM_WEIGHT)


@dataclass(frozen=True)
class ImageTextMatching:
    """Two-class cross-entropy, a mean over the pairs."""

    name: str = names.ITM
    view: str = names.MATCH

    def weight(self, batch: Batch) -> jax.Array:
        return batch[WEIGHT].sum()

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        return (cross_entropy(output.logits[self.name], batch[LABEL]) * batch[WEIGHT]).sum()

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        right = jnp.argmax(output.logits[self.name], axis=-1) == batch[LABEL]
        return {"itm_accuracy": ((right * batch[WEIGHT]).sum(), self.weight(batch))}
