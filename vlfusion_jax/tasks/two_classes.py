"""Whether something is so: what image-text matching and reasoning about pairs of images share."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.ops.losses import cross_entropy
from vlfusion_jax.tasks.task import Batch, Metrics


@dataclass(frozen=True)
class TwoClasses:
    """Two-class cross-entropy, a mean over the items.

    Attributes:
      name, view: see `Task`.
      label, weights: batch keys of what is right, 0 or 1, and of the items' weights, both [items].
      accuracy: name of the metric.
    """

    name: str
    view: str
    label: str
    weights: str
    accuracy: str

    def weight(self, batch: Batch) -> jax.Array:
        return batch[self.weights].sum()

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        return (cross_entropy(output.logits[self.name], batch[self.label]) * batch[self.weights]).sum()

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        right = jnp.argmax(output.logits[self.name], axis=-1) == batch[self.label]
        return {self.accuracy: ((right * batch[self.weights]).sum(), self.weight(batch))}
