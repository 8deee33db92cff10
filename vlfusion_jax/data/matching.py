"""Image-text matching: which rows of a batch get the caption of another image, and which caption."""

from collections.abc import Sequence

import numpy as np

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.records import Source

DRAWS = 8


def choose_negatives(rows: int, rng: np.random.Generator) -> np.ndarray:
    """Which of `rows` rows get a foreign caption: [rows] bool with exactly rows // 2 True, at random places."""
    return rng.permutation(rows) < rows // 2


def foreign_caption(source: Source, captions: Sequence[str], rng: np.random.Generator) -> str:
    """A caption of `source`, from a random record, that is none of `captions`.

    After `DRAWS` unlucky draws the records that follow the last one are searched in order.
    Raises UserError where no record has another caption.
    """
    start = 0
    for start in rng.integers(len(source), size=DRAWS):
        if found := _other(source, int(start), captions, rng):
            return found
    for offset in range(1, len(source) + 1):
        if found := _other(source, (int(start) + offset) % len(source), captions, rng):
            return found
    raise UserError(
        f"task itm needs captions that differ, but no image has another than '{captions[0]}': set tasks.itm.weight=0."
    )


def _other(source: Source, index: int, captions: Sequence[str], rng: np.random.Generator) -> str | None:
    others = [caption for caption in source.text_of(index)[0] if caption not in captions]
    return others[rng.integers(len(others))] if others else None


def check_captions_differ(source: Source) -> None:
    """Raise UserError unless two records of `source` have different captions."""
    first: tuple[str, ...] | None = None
    for index in range(len(source)):
        captions = source.text_of(index)[0]
        if not captions:
            continue
        first = first or captions
        if set(captions) != set(first):
            return
    raise UserError("task itm needs images with different captions, but the data has none: set tasks.itm.weight=0.")
