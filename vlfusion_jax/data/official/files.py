"""Finding and checking the files of an official data set in the folder they were unpacked into."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.json_entries import text

T = TypeVar("T")


def text_files(folder: Path, names: Sequence[str]) -> list[Path] | None:
    """The files of one split, all of them; None where none is there.

    Raises:
      UserError: some are there and others not.
    """
    files = [folder / name for name in names]
    missing = [file for file in files if not file.is_file()]
    if len(missing) == len(files):
        return None
    if missing:
        there = next(file.name for file in files if file not in missing)
        raise UserError(f"'{missing[0]}' is missing, but {there} is there: the two belong together.")
    return files


def image_folder(folder: Path, names: Sequence[str]) -> str:
    """The first of `names` that is a folder below `folder`; UserError where none is."""
    for name in names:
        if (folder / name).is_dir():
            return name
    raise UserError(f"'{folder / names[0]}' is no folder: unpack the images there.")


def rows_of(file: Path, rows: Iterable[T]) -> Iterator[T]:
    """`rows`, with a progress bar that names the file."""
    yield from tqdm(rows, desc=f"reading {file.name}", unit=" entries", leave=False, mininterval=0.5)


def plain_name(name: str, place: str) -> str:
    """A file's name, refused where it is empty, hidden, or leads out of its folder."""
    if not name or name.startswith(".") or "\0" in name or "/" in name or "\\" in name:
        raise UserError(f"{place}: {name!r} is no name of an image file.")
    return name


def whole_number(row: dict[str, Any], key: str, place: str) -> int:
    """The number under `key`, 0 or more; UserError where there is none."""
    value = row.get(key)
    if type(value) is not int or value < 0:
        raise UserError(f"{place}: {key!r} is {value!r:.100}, expected a whole number.")
    return value


def spoken(row: dict[str, Any], key: str, place: str) -> str:
    """The text under `key` in one line, words one space apart; '' where there are none."""
    return " ".join(text(row, key, place).split())
