"""Reasoning about two images (NLVR2, Suhr et al. 2019): is the statement true of the pair?"""

from dataclasses import dataclass

from vlfusion_jax.core import names
from vlfusion_jax.tasks.two_classes import TwoClasses

LABEL = names.key(names.STATEMENT, names.NLVR_LABEL)
WEIGHT = names.key(names.STATEMENT, names.NLVR_WEIGHT)


@dataclass(frozen=True)
class VisualReasoning(TwoClasses):
    """Two-class cross-entropy, a mean over the pairs; class 1 is true."""

    name: str = names.NLVR
    view: str = names.STATEMENT
    label: str = LABEL
    weights: str = WEIGHT
    accuracy: str = "accuracy"
