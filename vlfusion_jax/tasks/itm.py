"""Image-text matching (ViLT, Kim et al. 2021, section 4.2): does the caption belong to the image?"""

from dataclasses import dataclass

from vlfusion_jax.core import names
from vlfusion_jax.tasks.two_classes import TwoClasses

LABEL = names.key(names.MATCH, names.ITM_LABEL)
WEIGHT = names.key(names.MATCH, names.ITM_WEIGHT)


@dataclass(frozen=True)
class ImageTextMatching(TwoClasses):
    """Two-class cross-entropy, a mean over the captions."""

    name: str = names.ITM
    view: str = names.MATCH
    label: str = LABEL
    weights: str = WEIGHT
    accuracy: str = "itm_accuracy"
