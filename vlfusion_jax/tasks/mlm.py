"""Masked language modelling (Devlin et al. 2019, section 3.1): the words hidden in the caption."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.ops.losses import cross_entropy
from vlfusion_jax.tasks.task import Batch, Metrics

LABELS = names.key(names.MASKED, names.MLM_LABELS)
WEIGHTS = names.key(names.MASKED, names.MLM_WEIGHTS)


@dataclass(frozen=True)
class MaskedLanguageModelling:
    """Cross-entropy at the masked positions, a mean over all of them in the batch."""

    name: str = names.MLM
    view: str = names.MASKED
    heads: tuple[str, ...] = (names.MLM,)

    def weight(self, batch: Batch) -> jax.Array:
        return batch[WEIGHTS].sum()

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        return (cross_entropy(output.logits[self.name], batch[LABELS]) * batch[WEIGHTS]).sum()

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        right = jnp.argmax(output.logits[self.name], axis=-1) == batch[LABELS]
        return {"mlm_accuracy": ((right * batch[WEIGHTS]).sum(), self.weight(batch))}
