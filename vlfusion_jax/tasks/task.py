"""What a training objective is made of."""

from collections.abc import Mapping
from typing import Protocol

import jax

from vlfusion_jax.models.output import FusionOutput

Batch = Mapping[str, jax.Array]
Metrics = dict[str, tuple[jax.Array, jax.Array]]


class Task(Protocol):
    """One objective on one view of the batch.

    A loss is a sum and a weight. The weight depends on masks alone, so it is known for the whole batch before the
    batch is cut into micro-batches; sums of micro-batches then add up to those of the batch.
    """

    name: str
    view: str
    heads: tuple[str, ...]  # of the model, that it reads

    def weight(self, batch: Batch) -> jax.Array:
        """Scalar f32 weight of the loss: how many items it is a sum of."""
        ...

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        """Scalar f32 sum of the loss over the items."""
        ...

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        """{name: (sum, weight)}, each a f32 scalar."""
        ...
