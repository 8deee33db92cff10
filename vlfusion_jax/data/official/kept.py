"""What lies beside the records of a built data set: texts, counts of answers, what was left out.

`<split>.texts.jsonl` has the texts of the records in order, so that a run knows them without reading images;
`answer_counts.json` how often each answer was given, `dropped.json` what was left out, by split and reason.
"""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from vlfusion_jax.core.json_entries import json_lines, read_json
from vlfusion_jax.data.official.contents import Entry
from vlfusion_jax.data.records import Question

VERSION = "1.0.0"  # of what is built; another one is built anew
COUNTS_FILE = "answer_counts.json"
DROPPED_FILE = "dropped.json"
_TEXTS = ".texts.jsonl"


def folder_of(name: str, data_dir: Path) -> Path:
    """The folder of data set `name` below `data_dir`."""
    return data_dir / name / VERSION


def splits_of(folder: Path) -> list[str]:
    """Names of the splits of the data set in `folder`."""
    return sorted(file.name.removesuffix(_TEXTS) for file in folder.glob(f"*{_TEXTS}"))


def texts_file(folder: Path, split: str) -> Path:
    """Where the texts of a split lie in the folder of a data set."""
    return folder / f"{split}{_TEXTS}"


def to_row(entry: Entry) -> str:
    """The texts of a record as a line of JSON."""
    questions = [[each.text, each.answers, each.kind, each.id] for each in entry.questions]
    row = {"images": entry.images, "captions": entry.captions, "questions": questions}
    return json.dumps(row, ensure_ascii=False)


def read_entries(folder: Path, split: str) -> list[Entry]:
    """The records of a split, in order. Raises UserError for a file that is damaged."""
    return [_entry(row) for _, row in json_lines(texts_file(folder, split))]


def _entry(row: dict[str, Any]) -> Entry:
    # The same few thousand answers and kinds come hundreds of thousands of times: kept in memory once.
    questions = tuple(
        Question(text, tuple((sys.intern(answer), score) for answer, score in answers), sys.intern(kind), key)
        for text, answers, kind, key in row["questions"]
    )
    return Entry(tuple(row["images"]), tuple(row["captions"]), questions)


def read_answer_counts(folder: Path) -> Counter[str]:
    """How often each answer was given. Raises UserError for a file that is damaged."""
    return Counter(read_json(folder / COUNTS_FILE))


def read_dropped(folder: Path) -> list[dict[str, Any]]:
    """Rows {split, reason, count, first} of what was left out. Raises UserError for a file that is damaged."""
    return read_json(folder / DROPPED_FILE)
