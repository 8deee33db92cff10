"""Reference vectors of captions: `<split>.vectors.npy` beside `<split>.jsonl`.

A NumPy array of float16, float32 or float64 [lines, width], such as `np.save` writes. Row i belongs to all captions of
line i, blank lines not counted; of a caption that an image has on several lines the first counts. A row of NaN says
that the captions of a line have no vector. Rows of lines without a caption are not read.
"""

import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.jsonl import JsonlSource
from vlfusion_jax.data.records import Source

_ROWS = 4096  # that are read at a time
_OFF = "or set tasks.context.weight=0"


class ReferenceVectors:
    """The vectors of a split's captions, mapped from their file; safe to read from several threads."""

    def __init__(self, source: Source, width: int):
        """Map the vectors of `source`, of `width` numbers each.

        Raises UserError where the data set is no JSONL, and where the file is missing, is no such array, or has another
        number of rows than the JSONL has lines, or of numbers than `width`.
        """
        if not isinstance(source, JsonlSource):
            raise UserError(f"task context reads vectors beside JSONL files: set data.source=jsonl, {_OFF}.")
        self._source, lines = source, source.lines
        self._path = lines.path.with_suffix(".vectors.npy")
        self._rows = _mapped(self._path, lines.path)
        if len(self._rows) != lines.count:
            raise UserError(
                f"'{self._path}' has {len(self._rows)} rows, but '{lines.path}' {lines.count} lines that are not "
                "blank: write a row for each of them, of NaN where there is no vector."
            )
        if self._rows.shape[1] != width:
            raise UserError(
                f"'{self._path}' has vectors of {self._rows.shape[1]} numbers, but tasks.context.width is {width}: set "
                f"tasks.context.width={self._rows.shape[1]}."
            )

    def of(self, index: int, caption: str | None) -> np.ndarray | None:
        """[width] float32 of a caption of record `index`; None where it has no vector, or there is no caption.

        Raises UserError where some numbers are not finite.
        """
        if caption is None:
            return None
        line = self._source.lines.of_captions[index][self._source.text_of(index)[0].index(caption)]
        row = self._rows[line]
        if np.isnan(row).all():
            return None
        with np.errstate(over="ignore"):  # refused below
            vector = np.asarray(row, np.float32)
        if not np.isfinite(vector).all():
            raise UserError(
                f"'{self._path}' row {line}, counted from 0, has numbers that are not finite in float32: mend it, or "
                "make all of it NaN, which says that there is no vector."
            )
        return vector

    def fingerprint(self) -> str:
        """Eight hexadecimal digits (CRC-32) of the numbers; reads the file once."""
        checksum = 0
        for first in range(0, len(self._rows), _ROWS):
            checksum = zlib.crc32(np.ascontiguousarray(self._rows[first : first + _ROWS]), checksum)
        return f"{checksum:08x}"

    def check(self, captions: Iterable[tuple[int, str]]) -> None:
        """Raise UserError where none of `captions`, each with the number of its record, has a vector."""
        if all(self.of(index, caption) is None for index, caption in captions):
            raise UserError(
                f"'{self._path}' has no vector of any caption that is read: fill the rows of lines with a caption, "
                f"{_OFF}."
            )


def _mapped(path: Path, lines: Path) -> np.ndarray:
    """[rows, width] floats of a .npy file, not read yet."""
    if not path.is_file():
        raise UserError(
            f"task context reads '{path}', which does not exist: save a float array there with a row for each line of "
            f"'{lines}', {_OFF}."
        )
    try:
        rows = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read '{path}' as an array of NumPy: {error}; write it by np.save.") from error
    if rows.ndim != 2 or rows.dtype.kind != "f" or rows.dtype.itemsize > 8:
        raise UserError(
            f"'{path}' is an array of {rows.dtype} of shape {rows.shape}; save float16, float32 or float64 of shape "
            "(lines, numbers of a vector)."
        )
    return rows
