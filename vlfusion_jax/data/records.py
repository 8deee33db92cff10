"""What every source hands on: one record per image, with all the texts that belong to it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Question:
    """A question about an image.

    `answers` are (answer, soft score in (0, 1]) pairs, best first, each answer once. `kind` is the category of the
    question that accuracy is also reported by, or '' for none. `id` is what the data set calls the question in files of
    results, '' where it has no such name; it is no part of the `repr`, which tells one data set from another.
    """

    text: str
    answers: tuple[tuple[str, float], ...]
    kind: str = ""
    id: str = field(default="", repr=False)


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

    def answer_counts(self) -> Counter[str]:
        """How often each answer was given, by which the answers of a vocabulary are chosen."""


def count_answers(source: Source) -> Counter[str]:
    """Number of questions of `source` that each answer is one of the answers of."""
    counts: Counter[str] = Counter()
    for index in range(len(source)):
        for question in source.text_of(index)[1]:
            counts.update(answer for answer, _ in question.answers)
    return counts
