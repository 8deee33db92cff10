"""What every source hands on: one record per image, or pair of images, with all the texts that belong to it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Question:
    """A question about an image, or a statement about it or a pair of images, whose answer is its label.

    `answers` are (answer, soft score in (0, 1]) pairs, best first, each answer once. `kind` is the category of the
    question that accuracy is also reported by, or '' for none. `id` is what the data set calls the question in files of
    results, '' where it has no such name; it is no part of the `repr`, which tells one data set from another.
    """

    text: str
    answers: tuple[tuple[str, float], ...]
    kind: str = ""
    id: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """An image (PNG, JPEG, … as stored), or the file of its regions, and the name to call it by in messages."""

    data: bytes
    name: str


@dataclass(frozen=True, slots=True)
class Record:
    """An image, or a pair of them in order, and the texts that belong to it."""

    images: tuple[EncodedImage, ...]
    captions: tuple[str, ...]
    questions: tuple[Question, ...]

    @property
    def image(self) -> bytes:
        """The image, of a pair the first."""
        return self.images[0].data

    @property
    def image_name(self) -> str:
        """What to call it by in messages."""
        return self.images[0].name


class Source(Protocol):
    """Random access to the records of one split; safe to read from several threads.

    Attributes:
      images_per_record: 1, or 2 for pairs.
      labelled: whether all texts are statements with a class for a label, so that a report by class says something.
    """

    images_per_record: int
    labelled: bool

    def __len__(self) -> int:
        """Number of records, that is of images or pairs."""

    def __getitem__(self, index: int) -> Record:
        """Record `index`, 0 <= index < len(self)."""

    def text_of(self, index: int) -> tuple[tuple[str, ...], tuple[Question, ...]]:
        """(captions, questions) of record `index`, without reading its images."""

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
