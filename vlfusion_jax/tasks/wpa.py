"""Word-patch alignment by optimal transport (UNITER, Chen et al. 2020, section 3.2; ViLT, Kim et al. 2021, 4.2)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.ops.optimal_transport import cosine_cost, ipot, transport_distance
from vlfusion_jax.tasks.itm import pair_labels, pair_weights
from vlfusion_jax.tasks.task import Batch, Metrics


@dataclass(frozen=True)
class WordPatchAlignment:
    """Cost of moving the words of a text onto the patches of an image: low where they match, high where they do not.

    The sum of the costs of matching pairs minus that of the others, over all pairs. The published weight is 0.1.

    Attributes:
      view: as of image-text matching, whose pairs these are.
      image_class_token: whether the first image token stands for no patch.
    """

    view: str = names.MATCH
    image_class_token: bool = False
    name: str = names.WPA
    heads: tuple[str, ...] = ()

    def weight(self, batch: Batch) -> jax.Array:
        return pair_weights(batch, self.view).sum()

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        sign = jnp.where(pair_labels(batch, self.view) > 0, 1.0, -1.0)
        return (self._distances(output) * sign * pair_weights(batch, self.view)).sum()

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        """`wpa_matching` and `wpa_other`: mean cost of the pairs that match, and of the others."""
        distances, weights = self._distances(output), pair_weights(batch, self.view)
        labels = pair_labels(batch, self.view)
        of = {"wpa_matching": weights * (labels > 0), "wpa_other": weights * (labels == 0)}
        return {name: ((distances * each).sum(), each.sum()) for name, each in of.items()}

    def _distances(self, output: FusionOutput) -> jax.Array:
        words, patches = word_mask(output.text_mask), output.image_mask
        if self.image_class_token:
            patches = patches.at[:, 0].set(0)
        share = len(output.text) // len(output.image)  # where an image is encoded once for several texts
        image, patches = (jnp.repeat(x, share, axis=0) for x in (output.image, patches))
        cost = cosine_cost(output.text, image, words, patches)
        return transport_distance(cost, ipot(cost, words, patches))


def word_mask(text_mask_bt: jax.Array) -> jax.Array:
    """Mask [rows, tokens] of a text without its first token and its last valid one, which are no words."""
    inner = text_mask_bt * (jnp.cumsum(text_mask_bt, axis=1) < text_mask_bt.sum(1, keepdims=True))
    return inner.at[:, 0].set(0)
