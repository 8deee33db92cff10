"""Captioning: the caption word by word, each from the image and the words before it."""

from dataclasses import dataclass

from vlfusion_jax.core import names
from vlfusion_jax.tasks.next_token import NextToken


@dataclass(frozen=True)
class Captioning(NextToken):
    """Cross-entropy of the next token, a mean over all tokens of the batch behind the prompts, the last one included.

    BLIP (Li et al. 2022) smooths by 0.1.
    """

    smoothing: float = 0.0
    name: str = names.CAPTION
    view: str = names.WRITTEN
    accuracy: str = "caption_accuracy"
