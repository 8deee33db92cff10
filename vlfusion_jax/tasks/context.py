"""Context: the fused vector of an image and its caption, drawn towards a vector that is given for that caption."""

from dataclasses import dataclass

import jax

from vlfusion_jax.core import names
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.ops.cosine import cosine_similarity
from vlfusion_jax.ops.losses import squared_error
from vlfusion_jax.tasks.task import Batch, Metrics

VECTOR = names.key(names.REFERENCE, names.VECTOR)
WEIGHT = names.key(names.REFERENCE, names.VECTOR_WEIGHT)


@dataclass(frozen=True)
class ContextAlignment:
    """Distance of a projection of the fused vector from the given one, a mean over the captions that have one.

    What is given may be a sentence's embedding, or that of knowledge about the image. With `caption` beside it the
    objective is the fused loss α·context + β·caption, α and β the weights of the two tasks.

    Attributes:
      criterion: `mse`, a mean over the numbers of a vector, or `cosine`, one minus the cosine.
    """

    criterion: str = "mse"
    name: str = names.CONTEXT
    view: str = names.REFERENCE
    heads: tuple[str, ...] = (names.CONTEXT,)

    def weight(self, batch: Batch) -> jax.Array:
        return batch[WEIGHT].sum()

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        if self.criterion == "cosine":
            losses = 1 - self._cosines(output, batch)
        else:
            losses = squared_error(output.logits[names.CONTEXT], batch[VECTOR])
        return (losses * batch[WEIGHT]).sum()

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        """`context_cosine`: mean cosine of the angle between the two vectors."""
        return {"context_cosine": ((self._cosines(output, batch) * batch[WEIGHT]).sum(), self.weight(batch))}

    def _cosines(self, output: FusionOutput, batch: Batch) -> jax.Array:
        return cosine_similarity(output.logits[names.CONTEXT], batch[VECTOR])
