"""VQA v2.0 (Goyal et al. 2017) over COCO's images of 2014 and 2015, from the files of visualqa.org."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.json_entries import entries, put, read_json, text, texts
from vlfusion_jax.data.answers import normalise_answer, soft_answers
from vlfusion_jax.data.official.contents import Contents, Entry
from vlfusion_jax.data.official.files import image_folder, rows_of, spoken, text_files, whole_number
from vlfusion_jax.data.records import Question

_IMAGES = {"train": "train2014", "val": "val2014", "test": "test2015"}
_UNANSWERED = "test"


def read(folder: Path) -> Contents:
    """Splits train, val and test, as many as are there; test has no answers.

    Answers are normalised, of people as well as the `multiple_choice_answer` that the set of answers is counted by; a
    question's kind is its `answer_type`.

    Raises:
      UserError: a file is not what it should be, an id is there twice, or questions and annotations do not pair up.
    """
    contents, normalise = Contents(), lru_cache(maxsize=None)(normalise_answer)
    for split, images in _IMAGES.items():
        names = [f"v2_OpenEnded_mscoco_{images}_questions.json"]
        if split != _UNANSWERED:
            names.append(f"v2_mscoco_{images}_annotations.json")
        if files := text_files(folder, names):
            image_folder(folder, [images])
            annotations = _annotations(files[1]) if split != _UNANSWERED else None
            asked: dict[int, list[Question]] = {}
            for place, image, question in _questions(files[0]):
                key, kind, answers = question["question_id"], "", ()
                if annotations is not None:
                    where, annotation = _paired(annotations, key, image, place)
                    kind, given = text(annotation, "answer_type", where), texts(annotation, "answers", "answer", where)
                    answers = soft_answers([normalise(answer) for answer in given])
                    contents.answer_counts[normalise(text(annotation, "multiple_choice_answer", where))] += 1
                words = spoken(question, "question", place)
                if words:
                    asked.setdefault(image, []).append(Question(words, answers, kind, str(key)))
                else:
                    contents.dropped.add(split, "question without words", place)
            if annotations:
                key, (where, _) = next(iter(annotations.items()))
                raise UserError(f"{where}: question {key} is not in {files[0]}: the files are of different splits.")
            contents.splits[split] = [
                Entry((f"{images}/COCO_{images}_{image:012d}.jpg",), questions=tuple(questions))
                for image, questions in asked.items()
            ]
    return contents


def _questions(file: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    seen: dict[int, str] = {}
    for place, row in rows_of(file, entries(file, read_json(file), "questions")):
        put(seen, whole_number(row, "question_id", place), place, place)
        yield place, whole_number(row, "image_id", place), row


def _annotations(file: Path) -> dict[int, tuple[str, dict[str, Any]]]:
    found: dict[int, tuple[str, dict[str, Any]]] = {}
    for place, row in rows_of(file, entries(file, read_json(file), "annotations")):
        put(found, whole_number(row, "question_id", place), (place, row), place)
    return found


def _paired(
    annotations: dict[int, tuple[str, dict[str, Any]]], key: int, image: int, place: str
) -> tuple[str, dict[str, Any]]:
    """Takes the annotation of question `key` out of `annotations`."""
    where, row = annotations.pop(key, (None, None))
    if row is None:
        raise UserError(f"{place}: question {key} has no annotation: the files are of different splits.")
    if whole_number(row, "image_id", where) != image:
        raise UserError(f"{where}: question {key} is about image {row['image_id']}, in {place} about {image}.")
    return where, row
