"""What a data set holds before it is built, and what was left out of it."""

from collections import Counter
from dataclasses import dataclass, field

from vlfusion_jax.data.records import Question


@dataclass(frozen=True, slots=True)
class Entry:
    """A record to be: image files, as paths below the folder of the data set, and their texts."""

    images: tuple[str, ...]
    captions: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()


class Dropped:
    """What is left out, counted by split and reason, with the first case of each."""

    def __init__(self):
        self._counts: Counter[tuple[str, str]] = Counter()
        self._first: dict[tuple[str, str], str] = {}

    def add(self, split: str, reason: str, case: str) -> None:
        """Count one more; `case` is the entry or file, to look up."""
        self._counts[split, reason] += 1
        self._first.setdefault((split, reason), case)

    def to_list(self) -> list[dict[str, str | int]]:
        """One JSON-able row {split, reason, count, first} for each split and reason, in order of appearance."""
        return [
            {"split": split, "reason": reason, "count": count, "first": self._first[split, reason]}
            for (split, reason), count in self._counts.items()
        ]


@dataclass
class Contents:
    """All of a data set but its pixels.

    Attributes:
      splits: its entries, by split.
      answer_counts: how often each answer was given where the set of answers is chosen from.
      dropped: what is left out.
    """

    splits: dict[str, list[Entry]] = field(default_factory=dict)
    answer_counts: Counter[str] = field(default_factory=Counter)
    dropped: Dropped = field(default_factory=Dropped)
