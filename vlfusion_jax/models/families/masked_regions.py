"""What masked region modelling adds to a model: a head for the hidden cells, and what stands in their place."""

import math
from dataclasses import replace
from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.spec.heads import COLOURS, RegionHead
from vlfusion_jax.models.spec.inputs import ImageInput, RegionInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.streams import IMAGE


def with_masked_regions(spec: ModelSpec, task: Any) -> ModelSpec:
    """The model of a family with the head `mrm`, for a run of `config.tasks.mrm`.

    The head has an output of the name of the task's target. Regions in UNITER's form that are hidden get a learned
    vector (Chen et al. 2020, published code); all others are zero.

    Raises:
      UserError: the model's image tokens are no cells that can be hidden.
    """
    image = next((each for each in spec.inputs if each.stream == IMAGE), None)
    _check_cells(image)
    features = image.features if isinstance(image, RegionInput) else 3 * image.patch**2
    classes = math.prod(COLOURS) if image.patch else task.classes
    size = features if task.target == "feature" else classes
    head = RegionHead(((task.target, size),), "gelu", 1e-12)
    hiding = isinstance(image, RegionInput) and image.form == "uniter"
    inputs = tuple(replace(each, mask_vector=True) if hiding and each is image else each for each in spec.inputs)
    return replace(spec, inputs=inputs, heads=tuple(sorted((*spec.heads, (names.MRM, head)))))


def _check_cells(image: ImageInput | RegionInput | None) -> None:
    off = "or set tasks.mrm.weight=0"
    if image is None:
        raise UserError(
            f"task mrm hides parts of the image, but the model reads none: take another model.family, {off}."
        )
    if isinstance(image, RegionInput):
        return
    if image.tokens != "patch":
        raise UserError(
            f"task mrm hides patches of the image, but the model reads it through {image.tokens!r}: choose patches "
            f"by model.image_tokens or model.image_tower, whichever it has, {off}."
        )
    cells = image.cells[0] * image.cells[1]
    if image.max_tokens and image.max_tokens < cells:
        raise UserError(
            f"task mrm predicts patches that model.max_image_tokens {image.max_tokens} may leave out: raise it to the "
            f"{cells} of data.image_size, {off}."
        )
