"""Results and annotations in the files of the official evaluations of VQA and COCO captions."""

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.evals.captions import CaptionScores, caption_scores
from vlfusion_jax.evals.vqa_accuracy import Answered, vqa_accuracy

_FEWEST_ANSWERS = 2  # the accuracy compares them with each other


def score_answers(results: Path, annotations: Path) -> dict[str, float]:
    """Accuracy of a results file `[{question_id, answer}]` against VQA's annotations; see `vqa_accuracy`.

    Raises:
      UserError: a file is not what it should be, an answer is missing or there twice, or a question is not known.
    """
    found = _results(results, "question_id", "answer")
    people = {}
    for place, each in _entries(annotations, "annotations"):
        answers = tuple(_texts(each, "answers", "answer", place))
        if len(answers) < _FEWEST_ANSWERS:
            raise UserError(f"{place}: {len(answers)} answers, the accuracy takes {_FEWEST_ANSWERS} or more.")
        kinds = tuple(str(each[key]) for key in ("answer_type", "question_type") if each.get(key))
        _put(people, _value(each, "question_id", place), (answers, kinds), place)
    _all_known(found, people, results, annotations, "question")
    if missing := [key for key in people if key not in found]:
        raise UserError(
            f"{results}: {len(missing):,} of {len(people):,} questions of {annotations} have no answer, such as "
            f"{missing[0]}. The official accuracy is a mean over all of them: answer every question, if only by ''."
        )
    return vqa_accuracy(Answered(found[key], *people[key]) for key in people)


def score_captions(results: Path, annotations: Path) -> tuple[CaptionScores, list[Any], int]:
    """Scores of a results file `[{image_id, caption}]` against COCO's annotations; see `caption_scores`.

    As officially, images without a caption are left out: annotations hold more than a split does.

    Returns:
      The scores, the images they are of in order, and how many images of the annotations have no caption.

    Raises:
      UserError: a file is not what it should be, a caption is there twice, or an image is not known.
    """
    found = _results(results, "image_id", "caption")
    references = defaultdict(list)
    for place, each in _entries(annotations, "annotations"):
        references[_value(each, "image_id", place)].append(_text(each, "caption", place))
    _all_known(found, references, results, annotations, "image")
    images = list(found)
    scores = caption_scores(list(found.values()), [references[key] for key in images])
    return scores, images, len(references) - len(images)


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"{file}: is no JSON: {error}.") from error


def _results(file: Path, key: str, text: str) -> dict[Any, str]:
    found: dict[Any, str] = {}
    rows = _read(file)
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{file}: a list of {{{key!r}: …, {text!r}: …}} is expected, with one entry or more.")
    for number, row in enumerate(rows):
        place = f"{file}, entry {number}"
        if not isinstance(row, dict):
            raise UserError(f"{place}: {{{key!r}: …, {text!r}: …}} is expected, got {row!r:.100}.")
        _put(found, _value(row, key, place), _text(row, text, place), place)
    return found


def _entries(file: Path, key: str) -> list[tuple[str, dict[str, Any]]]:
    content = _read(file)
    rows = content.get(key) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{file}: a list of objects is expected under {key!r}, as in the official annotations.")
    return [(f"{file}, {key}[{number}]", row) for number, row in enumerate(rows)]


def _put(found: dict[Any, Any], key: Any, value: Any, place: str) -> None:
    if key in found:
        raise UserError(f"{place}: {key!r} is there twice.")
    found[key] = value


def _value(row: Mapping[str, Any], key: str, place: str) -> int | str:
    value = row.get(key)
    if not isinstance(value, int | str):
        raise UserError(f"{place}: {key!r} is missing, or neither number nor text.")
    return value


def _text(row: Mapping[str, Any], key: str, place: str) -> str:
    if not isinstance(row.get(key), str):
        raise UserError(f"{place}: the text {key!r} is missing.")
    return row[key]


def _texts(row: Mapping[str, Any], key: str, inner: str, place: str) -> list[str]:
    rows = row.get(key)
    if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
        raise UserError(f"{place}: {key!r} is no list of {{{inner!r}: …}}.")
    return [_text(each, inner, f"{place}, {key}[{number}]") for number, each in enumerate(rows)]


def _all_known(found: Mapping, known: Mapping, results: Path, annotations: Path, what: str) -> None:
    if strange := [key for key in found if key not in known]:
        raise UserError(
            f"{results}: {len(strange):,} of {len(found):,} entries are of no {what} in {annotations}, such as "
            f"{strange[0]!r}: results and annotations are of different splits."
        )
