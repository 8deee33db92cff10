"""Regions as the run has them: from a detector in the batch, or the patches of the image."""

from typing import Any

from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.spec.inputs import RegionInput

# Hyperparameters that every family on regions has.
REGIONS = {
    "regions": 36,  # of an image, padding included, where data.regions does not say
    "region_features": 2048,  # numbers that describe a region
    "region_patch": 0,  # side of the patches that are the regions, in pixels; 0 = the batch gives regions
}


def region_input(form: str, model: Any, given: Given, width: int, **more: Any) -> RegionInput:
    """The `RegionInput` of a family's hyperparameters.

    Args:
      form: see `RegionInput`.
      model: `config.model`, with `regions`, `region_features` and `region_patch`.
      given: the run's sizes.
      width: of the tokens.
      **more: further attributes.
    """
    patch, more = model.region_patch, more | {"whole": form == "vilbert"}
    if not patch:
        return RegionInput(form, model.region_features, width, given.regions or model.regions, **more)
    cells = (given.image_size[0] // patch) * (given.image_size[1] // patch)
    return RegionInput(form, 3 * patch**2, width, cells, patch=patch, size=given.image_size, **more)
