"""Your own images and text: `<split>.jsonl` beside an image folder or `images*.tar`, or the same of their regions.

One JSON object a line: the name of an image, and a caption, a question with its answer, a statement with its label, or
several of these. Lines of the same image become one record, in the order of first appearance. `data.fields.*` says what
the fields are called. Captions may have vectors, in a file of their own: see `data.vectors`.

* caption: a text, or a list of texts;
* answer: a text (or number, or true/false), or the list of all annotators' answers. An answer that n of k annotators
  gave scores min(1, max(0.3 n, n / k)): with ten annotators the soft score of VQA (Antol et al. 2015), which is 0.3,
  0.6, 0.9, 1, with up to three their share;
* label: as an answer, such as `entailment` (SNLI-VE, Xie et al. 2019);
* kind, optional: the category of question or statement, by which accuracy is reported too.

Where the image is a list of two names, the line is about that pair, as all lines of the split then are (NLVR2, Suhr et
al. 2019): it has a statement, and true or false for a label, as a text too. Its other fields are not read.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.json_entries import json_lines, whole
from vlfusion_jax.data.answers import soft_answers
from vlfusion_jax.data.image_store import IMAGES, REGIONS, ImageStore, normal_name
from vlfusion_jax.data.records import EncodedImage, Question, Record, count_answers
from vlfusion_jax.data.regions import region_file

Names = tuple[str, ...]  # of an image, or of a pair
_OF_STORE = {IMAGES: "image", REGIONS: "file of regions"}
_NUMBERS = {1: "one image", 2: "a pair of images"}


@dataclass(frozen=True)
class Lines:
    """The lines of a JSONL file, without blank ones.

    Attributes:
      path: of the file.
      count: how many.
      of_captions: of each record, the number from 0 of the line on which each of its captions first stands.
    """

    path: Path
    count: int
    of_captions: tuple[tuple[int, ...], ...]


class JsonlSource:
    """Records of a JSONL file. Texts are in memory, images are read when asked for."""

    def __init__(
        self,
        store: ImageStore,
        texts: dict[Names, tuple[tuple[str, ...], tuple[Question, ...]]],
        lines: Lines,
        labelled: bool,
    ):
        """`texts` maps image names to (captions, questions), in record order; `labelled` as of `Source`."""
        self.lines = lines
        self._store = store
        self._names = list(texts)
        self._texts = list(texts.values())
        self.images_per_record = len(self._names[0]) if texts else 1
        self.labelled = labelled

    def __len__(self) -> int:
        """Number of images, or of pairs."""
        return len(self._names)

    def __getitem__(self, index: int) -> Record:
        """Record `index`, reading its images."""
        return Record(tuple(map(self._read, self._names[index])), *self._texts[index])

    def _read(self, name: str) -> EncodedImage:
        return EncodedImage(self._store.read(name), self._store.find(name) or name)

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


def open_jsonl(folder: str, split: str, fields: ConfigDict, of_regions: bool = False) -> JsonlSource:
    """Open `<folder>/<split>.jsonl`, checking every line and that every image exists.

    With `of_regions` the images are the files of their regions, see `data.regions`, and there need be no others.

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
    store = ImageStore(root, REGIONS if of_regions else IMAGES)
    captions: dict[Names, dict[str, int]] = {}  # each text once, and where it first stands
    questions: dict[Names, list[Question]] = {}
    per_line, labelled, lines = 0, True, 0
    of_file: dict[str, str] = {}  # of regions: the image that they are of
    for where, row in json_lines(path):
        images = _image_names(row, fields.image, where)
        if of_regions:
            images = tuple(_region_file(image, of_file, where) for image in images)
        per_line = per_line or len(images)
        if len(images) != per_line:
            raise UserError(
                f"{where}: field '{fields.image}' is {_NUMBERS[len(images)]}, on the lines above it is"
                f" {_NUMBERS[per_line]}: keep images and pairs in files of their own."
            )
        if images not in captions:
            for image in images:
                _check_held(store, image, where, root)
            captions[images], questions[images] = {}, []
        if per_line == 1:
            row_captions, row_questions = _read_texts(row, fields, where)
        else:
            row_captions, row_questions = [], [_read_verdict(row, fields, where)]
        for caption in row_captions:
            captions[images].setdefault(caption, lines)
        questions[images] += row_questions
        labelled = labelled and not row_captions and (per_line > 1 or row.get(fields.question) is None)
        lines += 1
    texts = {images: (tuple(captions[images]), tuple(questions[images])) for images in captions}
    of_captions = tuple(tuple(of_image.values()) for of_image in captions.values())
    return JsonlSource(store, texts, Lines(path, lines, of_captions), labelled)


def _region_file(image: str, of_file: dict[str, str], where: str) -> str:
    """The file of the image's regions, which are of no other image."""
    file = region_file(image)
    if (other := of_file.setdefault(file, image)) != image:
        raise UserError(
            f"{where}: the regions of images '{_short(image)}' and '{_short(other)}' would both be '{_short(file)}': "
            "give images names that differ before the suffix."
        )
    return file


def _check_held(store: ImageStore, image: str, where: str, root: Path) -> None:
    if store.find(image) is None:
        held = " and ".join(f"'{_short(name)}'" for name in store.tar_names(2))
        raise UserError(
            f"{where}: {_OF_STORE[store.kind]} '{_short(image)}' is in no {store.kind}*.tar of '{root}', nor a file "
            f"there or in its {store.kind}/" + (f"; the tar files hold {held}." if held else ".")
        )


def _short(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:79]}…"


def _image_names(row: dict[str, Any], field: str, where: str) -> Names:
    value = row.get(field)
    if not isinstance(value, list):
        return (normal_name(_text(row, field, "image", where)),)
    if len(value) != 2 or not all(isinstance(name, str) and name.strip() for name in value):
        raise UserError(
            f"{where}: field '{field}' is {_short(json.dumps(value))}, expected the name of an image, or a list of two."
        )
    return tuple(normal_name(whole(name, field, where)) for name in value)


def _read_texts(row: dict[str, Any], fields: ConfigDict, where: str) -> tuple[list[str], list[Question]]:
    captions = row.get(fields.caption)
    captions = [] if captions is None else captions if isinstance(captions, list) else [captions]
    if not all(isinstance(text, str) and text.strip() for text in captions):
        raise UserError(f"{where}: field '{fields.caption}' is not a text or a list of texts, none of them empty.")
    captions = [whole(text, fields.caption, where) for text in captions]
    asked = [
        (role, of_answer)
        for role, of_answer in (("question", "answer"), ("statement", "label"))
        if row.get(fields[role]) is not None
    ]
    if not captions and not asked:
        raise UserError(
            f"{where} has neither field '{fields.caption}' nor '{fields.question}' nor '{fields.statement}' (its"
            f" fields: {', '.join(row)}): add one of them, or set data.fields.caption, data.fields.question or"
            " data.fields.statement."
        )
    return captions, [_read_question(row, fields, *roles, where) for roles in asked]


def _read_question(row: dict[str, Any], fields: ConfigDict, role: str, of_answer: str, where: str) -> Question:
    text = _text(row, fields[role], role, where)
    kind = row.get(fields.kind)
    kind = "" if kind is None else whole(str(kind), fields.kind, where)
    return Question(text, _read_answers(row, fields[of_answer], of_answer, where), kind)


def _read_verdict(row: dict[str, Any], fields: ConfigDict, where: str) -> Question:
    """The statement on a pair, its label spelt as a verdict."""
    statement = _read_question(row, fields, "statement", "label", where)
    labels = [label.strip().lower() for label, _ in statement.answers]
    if len(labels) != 1 or labels[0] not in names.VERDICTS:
        given = _short(json.dumps(row[fields.label]))
        raise UserError(f"{where}: field '{fields.label}' is {given}, expected true or false for a pair of images.")
    return replace(statement, answers=((labels[0], 1.0),))


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


def _read_answers(row: dict[str, Any], field: str, role: str, where: str) -> tuple[tuple[str, float], ...]:
    given = _present(row, field, role, where)
    given = given if isinstance(given, list) else [given]
    if not given or not all(isinstance(answer, str | int | float) for answer in given):
        raise UserError(f"{where}: field '{field}' is not a text or a list of texts.")
    texts = [answer if isinstance(answer, str) else json.dumps(answer) for answer in given]
    return soft_answers([whole(text, field, where) for text in texts])
