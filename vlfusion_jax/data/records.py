"""What every source hands on: one record per image, with all the texts that belong to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Question:
    """A question about an image.

    `answers` are (answer, soft score in (0, 1]) pairs, best first, each answer once. `kind` is the category of the
    question that accuracy is also reported by, or '' for none.
    """

    text: str
    answers: tuple[tuple[str, float], ...]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """An encoded image (PNG, JPEG, … as stored), the name to call it by in messages, and its texts."""

    image: bytes
    image_name: str
    captions: tuple[str, ...]
    questions: tuple[Question, ...]


class Source(Protocol):
    """Random access to the records of one split; safe to read from several threads."""

    def __len__(self) -> int:
        """Number of records, that is of images."""

    def __getitem__(self, index: int) -> Record:
        """Record `index`, 0 <= index < len(self)."""

    def text_of(self, index: int) -> tuple[tuple[str, ...], tuple[Question, ...]]:
        """(captions, questions) of record `index`, without reading its image."""

    def texts(self) -> Iterator[str]:
        """Every caption and question text of the split, in record order."""
