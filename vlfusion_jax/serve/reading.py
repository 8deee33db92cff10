"""Records of a split, read in batches by several threads."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

from vlfusion_jax.data.records import Record, Source

Read = TypeVar("Read")
_THREADS = 8


def read_records(
    source: Source, numbers: Sequence[int], size: int, read: Callable[[Record], Read], unit: str
) -> Iterator[list[Read]]:
    """What `read` makes of records `numbers`, in their order, at most `size` at a time, with a bar of progress.

    A record that a batch has several times is read once for it.

    Args:
      source: the split.
      numbers: of records.
      size: of a batch.
      read: called by several threads; what it raises is raised.
      unit: what the progress counts.
    """
    progress = tqdm(total=len(numbers), unit=unit, leave=False, disable=None)
    with progress, ThreadPoolExecutor(_THREADS) as readers:
        for start in range(0, len(numbers), size):
            wanted = numbers[start : start + size]
            distinct = list(dict.fromkeys(wanted))
            found = dict(zip(distinct, readers.map(lambda number: read(source[number]), distinct), strict=True))
            yield [found[number] for number in wanted]
            progress.update(len(wanted))
