"""GQA (Hudson and Manning 2019), its balanced questions, from `questions1.2.zip` and `images.zip`."""

from pathlib import Path
from typing import Any

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.json_entries import read_json, text
from vlfusion_jax.data.official.contents import Contents, Entry
from vlfusion_jax.data.official.files import image_folder, plain_name, rows_of, spoken, text_files
from vlfusion_jax.data.records import Question

_SPLITS = ("train", "val", "testdev", "test")
_UNANSWERED = "test"
_COUNTED = ("train", "val")  # where the field counts its 1,842 answers


def read(folder: Path) -> Contents:
    """Splits train, val, testdev and test, as many as are there; test has no answers.

    A question's kind is its structural type: verify, query, choose, logical or compare.

    Raises:
      UserError: a file is not what it should be, or a question's id is there twice.
    """
    contents = Contents()
    for split in _SPLITS:
        if files := text_files(folder, [f"{split}_balanced_questions.json"]):
            (file,), images, asked = files, image_folder(folder, ["images"]), {}
            content = read_json(file, distinct_keys=True)
            if not isinstance(content, dict):
                raise UserError(f"{file}: an object of questions by their ids is expected.")
            for key, row in rows_of(file, content.items()):
                place = f"{file}, question {key}"
                if not isinstance(row, dict):
                    raise UserError(f"{place}: an object is expected, got {row!r:.100}.")
                image = plain_name(f"{text(row, 'imageId', place)}.jpg", place)
                question = _question(row, key, split != _UNANSWERED, place)
                if question.text:
                    asked.setdefault(f"{images}/{image}", []).append(question)
                    if split in _COUNTED:
                        contents.answer_counts[question.answers[0][0]] += 1
                else:
                    contents.dropped.add(split, "question without words", place)
            contents.splits[split] = [Entry((image,), questions=tuple(each)) for image, each in asked.items()]
    return contents


def _question(row: dict[str, Any], key: str, answered: bool, place: str) -> Question:
    words = spoken(row, "question", place)
    if not answered:
        return Question(words, (), id=key)
    types = row.get("types")
    if not isinstance(types, dict):
        raise UserError(f"{place}: the object 'types' is missing.")
    return Question(words, ((text(row, "answer", place), 1.0),), text(types, "structural", place), key)
