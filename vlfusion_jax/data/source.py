"""Opening the data a configuration names."""

import zlib
from pathlib import Path

from ml_collections import ConfigDict

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.folders import cache_folder
from vlfusion_jax.data.jsonl import open_jsonl
from vlfusion_jax.data.records import Source


def open_source(data: ConfigDict, split: str) -> Source:
    """Open `split` of the data set that `data.source` names.

    * `jsonl`: `<data.path>/<split>.jsonl` and its images, or with `data.regions` their regions, see `data.jsonl`.
    * `sort_of_clevr`: generated into `data.path` (by default $VLFUSION_CACHE, or ~/.cache/vlfusion_jax) where it is not
      there yet. `sort_of_clevr:<train>,<test>` asks for other numbers of images than the published 9,800 and 200.
    * `vqav2` and the others of `names.OFFICIAL_DATA`: built by `vlfusion data <name>` into `data.path`, which has the
      same default. `trainval` and `train+val` are splits too.
    * `tfds:<name>[/<config>]`: prepared by TFDS in `data.path`, see `data.catalogue`.

    Raises UserError for an unknown source or split, an empty data set, and whatever the source finds wrong.
    """
    kind, _, detail = data.source.partition(":")
    if kind == names.JSONL and not detail:
        source = open_jsonl(data.path, split, data.fields, data.regions > 0)
    elif kind == names.SORT_OF_CLEVR:
        source = _open_sort_of_clevr(data.path, split, detail)
    elif kind in names.OFFICIAL_DATA and not detail:
        source = _open_official(kind, data.path, split)
    elif kind == names.TFDS and detail:
        source = _open_catalogued(detail, data.path, split)
    else:
        raise UserError(f"data.source '{data.source}' is unknown: choose one of {', '.join(names.SOURCES)}.")
    if len(source) == 0:
        raise UserError(f"data.path '{data.path}' has no record in split '{split}': the data set is empty.")
    return source


def data_folder(path: str) -> Path:
    """The folder that `data.path` or --data_dir names; by default that of files which can be made again."""
    return Path(path).expanduser() if path else cache_folder()


def fingerprint(source: Source) -> str:
    """Eight hexadecimal digits (CRC-32) of the texts, answers and order of `source`; pixels are not read."""
    checksum = 0
    for index in range(len(source)):
        checksum = zlib.crc32(repr(source.text_of(index)).encode(), checksum)
    return f"{checksum:08x}"


# TFDS takes a second or more to import, and only these sources need it.


def _open_official(name: str, path: str, split: str) -> Source:
    from vlfusion_jax.data.official.source import open_official

    return open_official(name, data_folder(path), split)


def _open_catalogued(name: str, path: str, split: str) -> Source:
    from vlfusion_jax.data.catalogue import open_catalogued

    return open_catalogued(name, data_folder(path), split)


def _open_sort_of_clevr(path: str, split: str, sizes: str) -> Source:
    from vlfusion_jax.data.sort_of_clevr_builder import SortOfClevrConfig, open_sort_of_clevr

    try:
        numbers = [int(number) for number in sizes.split(",")] if sizes else []
    except ValueError:
        numbers = [0]
    if len(numbers) not in (0, 2) or min(numbers, default=1) < 1:
        raise UserError(f"data.source 'sort_of_clevr:{sizes}': write two positive numbers of images, train and test.")
    return open_sort_of_clevr(data_folder(path), split, SortOfClevrConfig(*numbers))
