"""Opening the data a configuration names."""

import zlib

from ml_collections import ConfigDict

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.folders import cache_folder
from vlfusion_jax.data.jsonl import open_jsonl
from vlfusion_jax.data.records import Source

SOURCES = ("sort_of_clevr", "jsonl")


def open_source(data: ConfigDict, split: str) -> Source:
    """Open `split` of the data set that `data.source` names.

    * `jsonl`: `<data.path>/<split>.jsonl` and its images, see `data.jsonl`.
    * `sort_of_clevr`: generated into `data.path` (by default $VLFUSION_CACHE, or ~/.cache/vlfusion_jax) where it is not
      there yet. `sort_of_clevr:<train>,<test>` asks for other numbers of images than the published 9,800 and 200.

    Raises UserError for an unknown source or split, an empty data set, and whatever the source finds wrong.
    """
    kind, _, sizes = data.source.partition(":")
    if kind == "jsonl" and not sizes:
        source = open_jsonl(data.path, split, data.fields)
    elif kind == "sort_of_clevr":
        source = _open_sort_of_clevr(data.path, split, sizes)
    else:
        raise UserError(f"data.source '{data.source}' is unknown: choose one of {', '.join(SOURCES)}.")
    if len(source) == 0:
        raise UserError(f"data.path '{data.path}' has no record in split '{split}': the data set is empty.")
    return source


def fingerprint(source: Source) -> str:
    """Eight hexadecimal digits (CRC-32) of the texts, answers and order of `source`; pixels are not read."""
    checksum = 0
    for index in range(len(source)):
        checksum = zlib.crc32(repr(source.text_of(index)).encode(), checksum)
    return f"{checksum:08x}"


def _open_sort_of_clevr(path: str, split: str, sizes: str) -> Source:
    # TFDS takes a second or more to import, and only this source needs it.
    from vlfusion_jax.data.sort_of_clevr_builder import SortOfClevrConfig, open_sort_of_clevr

    try:
        numbers = [int(number) for number in sizes.split(",")] if sizes else []
    except ValueError:
        numbers = [0]
    if len(numbers) not in (0, 2) or min(numbers, default=1) < 1:
        raise UserError(f"data.source 'sort_of_clevr:{sizes}': write two positive numbers of images, train and test.")
    return open_sort_of_clevr(path or cache_folder(), split, SortOfClevrConfig(*numbers))
