"""Entries of the JSON files that others publish: read with checks, each message naming file and entry."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vlfusion_jax.core.errors import UserError


def read_json(file: Path, distinct_keys: bool = False) -> Any:
    """Content of a JSON file; with `distinct_keys` a key that an object has twice is an error too.

    Raises:
      UserError: it cannot be read, or is no JSON.
    """

    def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            raise UserError(f"{file}: {next(k for k in keys if keys.count(k) > 1)!r} is there twice.")
        return found

    try:
        return json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=distinct if distinct_keys else None)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: is no JSON: {error}.") from error


def json_lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place to name in messages, object) of every line of a JSONL file that is not blank.

    Raises:
      UserError: the file cannot be read, or a line is no JSON object.
    """
    for number, line in _lines(file):
        place = f"{file} line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:  # also invalid UTF-8
            raise UserError(f"{place} is not valid JSON: {error}") from error
        if not isinstance(row, dict):
            raise UserError(f"{place} is not a JSON object but {type(row).__name__}.")
        yield place, row


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with file.open("rb") as opened:
            yield from enumerate(opened, start=1)
    except OSError as error:
        raise UserError(f"cannot read '{file}': {error.strerror}; check the file and its permissions.") from error


def entries(place: Path | str, content: Any, key: str) -> list[tuple[str, dict[str, Any]]]:
    """(place, object) of every entry of the list that `content`, found at `place`, has under `key`.

    Raises:
      UserError: it is no list of objects.
    """
    rows = content.get(key) if isinstance(content, dict) else None
    if not _is_list_of_objects(rows):
        raise UserError(f"{place}: a list of objects is expected under {key!r}, as in the official annotations.")
    return [(f"{place}, {key}[{number}]", row) for number, row in enumerate(rows)]


def listed(place: Path | str, content: Any) -> list[tuple[str, dict[str, Any]]]:
    """(place, object) of every entry of `content`, found at `place`; UserError where it is no list of objects."""
    if not _is_list_of_objects(content):
        raise UserError(f"{place}: a list of objects is expected.")
    return [(f"{place}, entry {number}", row) for number, row in enumerate(content)]


def _is_list_of_objects(rows: Any) -> bool:
    return isinstance(rows, list) and all(isinstance(row, dict) for row in rows)


def put(found: dict[Any, Any], key: Any, value: Any, place: str) -> None:
    """Set `found[key]`; UserError where it is there already."""
    if key in found:
        raise UserError(f"{place}: {key!r} is there twice.")
    found[key] = value


def identifier(row: Mapping[str, Any], key: str, place: str) -> int | str:
    """The number or text under `key`; UserError where there is none."""
    value = row.get(key)
    if not isinstance(value, int | str):
        raise UserError(f"{place}: {key!r} is missing, or neither number nor text.")
    return whole(value, key, place) if isinstance(value, str) else value


def text(row: Mapping[str, Any], key: str, place: str) -> str:
    """The text under `key`, possibly empty; UserError where there is none."""
    if not isinstance(row.get(key), str):
        raise UserError(f"{place}: the text {key!r} is missing.")
    return whole(row[key], key, place)


def texts(row: Mapping[str, Any], key: str, inner: str, place: str) -> list[str]:
    """The texts under `inner` of the objects listed under `key`; UserError where it is no such list."""
    rows = row.get(key)
    if not _is_list_of_objects(rows):
        raise UserError(f"{place}: {key!r} is no list of {{{inner!r}: …}}.")
    return [text(each, inner, f"{place}, {key}[{number}]") for number, each in enumerate(rows)]


def whole(value: str, key: str, place: str) -> str:
    """`value`, refused where JSON escapes gave it half a surrogate pair, which neither files nor tokenizers take."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = json.dumps(value[error.start])
        raise UserError(
            f"{place}: field '{key}' holds {half}, half of a surrogate pair: write the whole character."
        ) from error
    return value
