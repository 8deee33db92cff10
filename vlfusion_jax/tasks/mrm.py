"""Masked region modelling (Chen et al. 2020, "UNITER", section 3.2): the cells of an image that are hidden.

Cells are patches of the batch's image, or regions of a detector that the batch gives. The text is shown whole.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.models.spec.heads import COLOURS
from vlfusion_jax.models.spec.inputs import ImageInput, RegionInput
from vlfusion_jax.ops.cells import mean_colours, pick_cells
from vlfusion_jax.ops.losses import cross_entropy, kl_divergence, smooth_l1, squared_error
from vlfusion_jax.ops.masks import normalise_pixels, split_patches
from vlfusion_jax.tasks.task import Batch, Metrics

HIDDEN = names.key(names.MASKED_IMAGE, names.HIDDEN)
ERRORS = {"mse": squared_error, "smooth_l1": smooth_l1}


@dataclass(frozen=True)
class MaskedRegionModelling:
    """A loss of each hidden cell, a mean over all of them in the batch.

    Attributes:
      image: the model's image input, which says what a cell is.
      target: `feature`: the cell's own vector, a patch's being its normalised pixels, by an error averaged over its
        numbers (UNITER's MRFR, LXMERT); `class`: a patch's mean colour as one of 256 classes in each channel (ViLT's
        MPP, Kim et al. 2021), a mean of the three, or a given region's label `region_labels` [images,
        regions] int32, which does not count where it is -1 (MRC); `kl`: a given region's distribution
        `region_classes` [images, regions, classes], summed over the classes (MRC-KL).
      predicted: which output of the head is meant.
      criterion: `mse` or `smooth_l1`, of a `feature`.
      name: `mrm`, or `region` for a head that the family has.
    """

    image: ImageInput | RegionInput
    target: str
    predicted: str
    criterion: str = "mse"
    name: str = names.MRM
    view: str = names.MASKED_IMAGE

    @property
    def heads(self) -> tuple[str, ...]:
        return (self.name,)

    def weight(self, batch: Batch) -> jax.Array:
        return self._counted(batch).sum()

    def loss(self, output: FusionOutput, batch: Batch) -> jax.Array:
        predicted, target = self._predicted(output), pick_cells(self._targets(batch), batch[HIDDEN])
        if self.target == "feature":
            losses = ERRORS[self.criterion](predicted, target)
        elif self.target == "kl":
            losses = kl_divergence(predicted, target)
        else:
            losses = cross_entropy(predicted, jnp.maximum(target, 0)).mean(-1)
        return (losses * self._counted(batch)).sum()

    def metrics(self, output: FusionOutput, batch: Batch) -> Metrics:
        """`mrm_accuracy` of classes: the share of right ones, of a colour a mean over its channels."""
        if self.target != "class":
            return {}
        target = pick_cells(self._targets(batch), batch[HIDDEN])
        right = (jnp.argmax(self._predicted(output), axis=-1) == target).mean(-1)
        return {f"{self.name}_accuracy": ((right * self._counted(batch)).sum(), self.weight(batch))}

    def _predicted(self, output: FusionOutput) -> jax.Array:
        """[images, p, numbers], or of classes [images, p, choices, classes]: a colour is three choices, a label one."""
        predicted = output.logits[self.name][self.predicted]
        if self.target != "class":
            return predicted
        return predicted.reshape(*predicted.shape[:2], *(COLOURS if self.image.patch else (1, -1)))

    def _targets(self, batch: Batch) -> jax.Array:
        """Of every cell: vectors or distributions [images, cells, numbers], classes [images, cells, choices]."""
        patch = self.image.patch
        if self.target == "kl":
            return batch[names.REGION_CLASSES]
        if self.target == "class":
            if patch:
                return mean_colours(batch[names.IMAGE], batch[names.IMAGE_MASK], patch)
            return batch[names.REGION_LABELS][..., None]
        if not patch:
            return batch[names.REGIONS]
        scale = (self.image.mean, self.image.std) if isinstance(self.image, ImageInput) else ()
        return split_patches(
            normalise_pixels(batch[names.IMAGE], batch[names.IMAGE_MASK], jnp.float32, *scale), patch
        )  # fmt: skip

    def _counted(self, batch: Batch) -> jax.Array:
        """[images, p] f32, 1 where a cell is hidden and has a target."""
        counted = batch[HIDDEN] >= 0
        if self.target == "class" and not self.image.patch:
            counted &= pick_cells(batch[names.REGION_LABELS], batch[HIDDEN]) >= 0
        return counted.astype(jnp.float32)
