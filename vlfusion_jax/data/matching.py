"""Image-text matching: which rows of a batch get the caption of another image, and which caption.

Captions are told apart by `tokens`, a function from a caption to what the model reads of it, as bytes: an image must
not be shown as unmatched beside a caption that reads like its own.
"""

from collections.abc import Callable, Sequence

import numpy as np

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.records import Source

DRAWS = 8
Tokens = Callable[[str], bytes]

_ADVICE = "set tasks.itm.weight=0, or raise data.caption_length where captions differ only in what it cuts"


def choose_negatives(numbers: Sequence[int], rng: np.random.Generator) -> frozenset[int]:
    """Which of `numbers` get a foreign caption: half of them, rounded down, at random."""
    ranks = rng.permutation(len(numbers))
    return frozenset(number for number, rank in zip(numbers, ranks, strict=True) if rank < len(numbers) // 2)


def foreign_caption(source: Source, captions: Sequence[str], tokens: Tokens, rng: np.random.Generator) -> str:
    """A caption of `source`, from a random record, that reads like none of `captions`.

    After `DRAWS` unlucky draws the records that follow the last one are searched in order.
    Raises UserError where no record has another caption.
    """
    own = {tokens(caption) for caption in captions}
    start = 0
    for start in rng.integers(len(source), size=DRAWS):
        if found := _other(source, int(start), own, tokens, rng):
            return found
    for offset in range(1, len(source) + 1):
        if found := _other(source, (int(start) + offset) % len(source), own, tokens, rng):
            return found
    raise UserError(f"task itm needs captions that differ, but no image has another than '{captions[0]}': {_ADVICE}.")


def _other(source: Source, index: int, own: set[bytes], tokens: Tokens, rng: np.random.Generator) -> str | None:
    others = [caption for caption in source.text_of(index)[0] if tokens(caption) not in own]
    return others[rng.integers(len(others))] if others else None


def check_captions_differ(source: Source, tokens: Tokens) -> None:
    """Raise UserError unless there is a foreign caption for every captioned record of `source`."""
    most = max((len(source.text_of(index)[0]) for index in range(len(source))), default=0)
    known: set[bytes] = set()
    for index in range(len(source)):
        known.update(tokens(caption) for caption in source.text_of(index)[0])
        if len(known) > most:  # more than one record can have
            return
    for index in range(len(source)):
        captions = source.text_of(index)[0]
        if captions and known == {tokens(caption) for caption in captions}:
            raise UserError(
                f"task itm needs images with different captions, but none differs from '{captions[0]}': {_ADVICE}."
            )
