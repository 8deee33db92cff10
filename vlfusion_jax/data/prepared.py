"""A split of a prepared TFDS data set as records: texts in memory, images read when asked for."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.records import EncodedImage, Question, Record, count_answers

Texts = tuple[tuple[str, ...], tuple[Question, ...]]


class PreparedSource:
    """Records whose images are features of the rows of a data set."""

    def __init__(
        self,
        rows: Sequence[dict[str, Any]],
        names: Sequence[tuple[str, ...]],
        texts: Sequence[Texts],
        answer_counts: Counter[str] | None = None,
        features: tuple[str, ...] = ("image",),
        labelled: bool = False,
    ):
        """`names` of images and `texts` are those of `rows`, whose `features` are encoded images, one or two.

        `answer_counts` are those that the data set publishes; None counts the answers of these records. `labelled` as
        of `Source`.
        """
        self.images_per_record, self.labelled = len(features), labelled
        self._rows, self._features = rows, features
        self._names = names
        self._texts = texts
        self._answer_counts = answer_counts

    def __len__(self) -> int:
        """Number of images, or of pairs."""
        return len(self._names)

    def __getitem__(self, index: int) -> Record:
        """Record `index`, reading its images."""
        row = self._rows[index]
        named = zip(self._features, self._names[index], strict=True)
        return Record(tuple(EncodedImage(bytes(row[feature]), name) for feature, name in named), *self._texts[index])

    def text_of(self, index: int) -> Texts:
        """(captions, questions) of record `index`."""
        return self._texts[index]

    def texts(self) -> Iterator[str]:
        """Every caption and question text."""
        for captions, questions in self._texts:
            yield from captions
            yield from (question.text for question in questions)

    def answer_counts(self) -> Counter[str]:
        """How often each answer was given: over the splits that the data set counts, or in this one."""
        return count_answers(self) if self._answer_counts is None else self._answer_counts


def check_splits(parts: Sequence[str], there: Sequence[str], where: str) -> None:
    """Raise UserError where a part of a split such as train+val is not in the data set at `where`."""
    for part in parts:
        if part not in there:
            raise UserError(
                f"'{where}' has no split '{part}': set data.train_split and data.eval_split to one of"
                f" {', '.join(there)}, or to several joined by '+'."
            )
