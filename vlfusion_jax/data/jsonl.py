"""Your own images and text: `<split>.jsonl` beside an image folder or `images*.tar`.

One JSON object a line: the name of an image, and a caption, or a question with its answer, or both. Lines of the same
image become one record, in the order of first appearance. `data.fields.*` says what the fields are called.

* caption: a text, or a list of texts;
* answer: a text (or number, or true/false), or the list of all annotators' answers. An answer that n of k annotators
  gave scores min(1, max(0.3 n, n / k)): with ten annotators the soft score of VQA (Antol et al. 2015), which is 0.3,
  0.6, 0.9, 1, with up to three their share;
* kind, optional: the category of the question, by which accuracy is reported too.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.json_entries import json_lines, whole
from vlfusion_jax.data.answers import soft_answers
from vlfusion_jax.data.image_store import ImageStore, normal_name
from vlfusion_jax.data.records import Question, Record, count_answers


class JsonlSource:
    """Records of a JSONL file. Texts are in memory, images are read when asked for."""

    def __init__(self, store: ImageStore, texts: dict[str, tuple[tuple[str, ...], tuple[Question, ...]]]):
        """`texts` maps image name to (captions, questions), in record order."""
        self._store = store
        self._names = list(texts)
        self._texts = list(texts.values())

    def __len__(self) -> int:
        """Number of images."""
        return len(self._names)

    def __getitem__(self, index: int) -> Record:
        """Record `index`, reading its image."""
        name = self._names[index]
        return Record(self._store.read(name), self._store.find(name) or name, *self._texts[index])

    def text_of(self, index: int) -> tuple[tuple[str, ...], tuple[Question, ...]]:
        """(captions, questions) of record `index`."""
        return self._texts[index]

    def texts(self) -> Iterator[str]:
        """Every caption and question text."""
        for captions, questions in self._texts:
            yield from captions
            yield from (question.text for question in questions)

    def answer_counts(self) -> Counter[str]:
        """How often each answer was given, if by one annotator of several."""
        return count_answers(self)


def open_jsonl(folder: str, split: str, fields: ConfigDict) -> JsonlSource:
    """Open `<folder>/<split>.jsonl`, checking every line and that every image exists.

    Raises UserError, with the line number where there is one, for a missing folder or file, a file that cannot be read,
    invalid JSON, a missing or wrong field, and a missing image.
    """
    root = Path(folder).expanduser()
    if not folder or not root.is_dir():
        raise UserError(
            f"data.path '{folder}' is not a folder: give the folder that holds {split}.jsonl and the images."
        )
    path = root / f"{split}.jsonl"
    if not path.is_file():
        there = ", ".join(sorted(file.stem for file in root.glob("*.jsonl"))) or "none"
        raise UserError(f"'{path}' does not exist: data.path has no split '{split}' (splits there: {there}).")
    store = ImageStore(root)
    captions: dict[str, list[str]] = {}
    questions: dict[str, list[Question]] = {}
    for where, row in json_lines(path):
        image = normal_name(_text(row, fields.image, "image", where))
        if image not in captions:
            if store.find(image) is None:
                held = " and ".join(f"'{_short(name)}'" for name in store.tar_names(2))
                raise UserError(
                    f"{where}: image '{_short(image)}' is in no images*.tar of '{root}', nor a file there or in its"
                    " images/" + (f"; the tar files hold {held}." if held else ".")
                )
            captions[image], questions[image] = [], []
        row_captions, row_question = _read_texts(row, fields, where)
        captions[image] += row_captions
        questions[image] += row_question
    distinct = {name: tuple(dict.fromkeys(texts)) for name, texts in captions.items()}
    return JsonlSource(store, {name: (distinct[name], tuple(questions[name])) for name in captions})


def _short(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:79]}…"


def _read_texts(row: dict[str, Any], fields: ConfigDict, where: str) -> tuple[list[str], list[Question]]:
    captions = row.get(fields.caption)
    captions = [] if captions is None else captions if isinstance(captions, list) else [captions]
    if not all(isinstance(text, str) and text.strip() for text in captions):
        raise UserError(f"{where}: field '{fields.caption}' is not a text or a list of texts, none of them empty.")
    captions = [whole(text, fields.caption, where) for text in captions]
    if row.get(fields.question) is None:
        if not captions:
            raise UserError(
                f"{where} has neither field '{fields.caption}' nor '{fields.question}' (its fields: {', '.join(row)}):"
                " add one of them, or set data.fields.caption or data.fields.question."
            )
        return captions, []
    text = _text(row, fields.question, "question", where)
    kind = row.get(fields.kind)
    kind = "" if kind is None else whole(str(kind), fields.kind, where)
    return captions, [Question(text, _read_answers(row, fields, where), kind)]


def _text(row: dict[str, Any], field: str, role: str, where: str) -> str:
    value = _present(row, field, role, where)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: field '{field}' is {json.dumps(value)}, expected a text.")
    return whole(value, field, where)


def _present(row: dict[str, Any], field: str, role: str, where: str) -> Any:
    if row.get(field) is None:
        raise UserError(
            f"{where} has no field '{field}' (its fields: {', '.join(row)}): add it, or set data.fields.{role}."
        )
    return row[field]


def _read_answers(row: dict[str, Any], fields: ConfigDict, where: str) -> tuple[tuple[str, float], ...]:
    given = _present(row, fields.answer, "answer", where)
    given = given if isinstance(given, list) else [given]
    if not given or not all(isinstance(answer, str | int | float) for answer in given):
        raise UserError(f"{where}: field '{fields.answer}' is not a text or a list of texts.")
    texts = [answer if isinstance(answer, str) else json.dumps(answer) for answer in given]
    return soft_answers([whole(text, fields.answer, where) for text in texts])
