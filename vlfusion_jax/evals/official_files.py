"""Results and annotations in the files of the official evaluations of VQA and COCO captions."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.files import written_whole
from vlfusion_jax.core.json_entries import entries, identifier, put, read_json, text, texts
from vlfusion_jax.evals.captions import CaptionScores, caption_scores
from vlfusion_jax.evals.vqa_accuracy import Answered, vqa_accuracy

_COCO_NUMBER = re.compile(r"(?:^|_)(\d+)$")
_FEWEST_ANSWERS = 2  # the accuracy compares them with each other


def score_answers(results: Path, annotations: Path) -> dict[str, float]:
    """Accuracy of a results file `[{question_id, answer}]` against VQA's annotations; see `vqa_accuracy`.

    Raises:
      UserError: a file is not what it should be, an answer is missing or there twice, or a question is not known.
    """
    found = _results(results, "question_id", "answer")
    people = {}
    for place, each in entries(annotations, read_json(annotations), "annotations"):
        answers = tuple(texts(each, "answers", "answer", place))
        if len(answers) < _FEWEST_ANSWERS:
            raise UserError(f"{place}: {len(answers)} answers, the accuracy takes {_FEWEST_ANSWERS} or more.")
        kinds = tuple(str(each[key]) for key in ("answer_type", "question_type") if each.get(key))
        put(people, identifier(each, "question_id", place), (answers, kinds), place)
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
    for place, each in entries(annotations, read_json(annotations), "annotations"):
        references[identifier(each, "image_id", place)].append(text(each, "caption", place))
    _all_known(found, references, results, annotations, "image")
    images = list(found)
    scores = caption_scores(list(found.values()), [references[key] for key in images])
    return scores, images, len(references) - len(images)


def write_answers(file: Path, answers: Mapping[str, str], expected_ids: Iterable[str]) -> None:
    """Write the results file `[{question_id, answer}]` that VQA's evaluation server takes, in the order expected.

    Ids that are numbers are written as such, as in VQA's files. The server scores a file only if every question of
    the split is answered, so `expected_ids` are all of them.

    Raises:
      UserError: a question has no answer, is expected twice or has two spellings of its id, or is not known.
      OSError: the file cannot be written.
    """
    expected = [str(each) for each in expected_ids]
    found: dict[str, str] = {}
    for key, answer in answers.items():
        put(found, str(key), answer, str(file))
    if "" in expected:
        raise UserError(f"{file}: the data set does not say the ids of its questions, which the file is made of.")
    if len(known := set(expected)) < len(expected):
        doubled = next(key for key, count in Counter(expected).items() if count > 1)
        raise UserError(f"{file}: question {doubled} is expected twice; every question has one answer.")
    if missing := [key for key in expected if key not in found]:
        raise UserError(
            f"{file}: {len(missing):,} of {len(expected):,} questions have no answer, such as {missing[0]}: answer "
            "every question, if only by ''."
        )
    if strange := [key for key in found if key not in known]:
        raise UserError(
            f"{file}: {len(strange):,} of {len(found):,} answers are to no question of the split, such as {strange[0]}."
        )
    rows = [{"question_id": _as_number(key), "answer": found[key]} for key in expected]
    with written_whole(file) as aside:
        aside.write_text(json.dumps(rows), encoding="utf-8")


def write_captions(file: Path, captions: Iterable[tuple[str, str]]) -> None:
    """Write the results file `[{image_id, caption}]` that COCO's evaluation server takes, in order.

    Args:
      file: to write.
      captions: the name of each image and its caption. An image of COCO has the number that ends its name for an id, as
        in `COCO_val2014_000000391895.jpg`, another one its name.

    Raises:
      UserError: two images have the same id.
      OSError: the file cannot be written.
    """
    found: dict[int | str, str] = {}
    for name, caption in captions:
        stem = PurePosixPath(name.rpartition(":")[2]).stem  # behind the tar file that it lies in
        number = _COCO_NUMBER.search(stem)
        put(found, int(number[1]) if number else stem, caption, str(file))
    rows = [{"image_id": key, "caption": caption} for key, caption in found.items()]
    with written_whole(file) as aside:
        aside.write_text(json.dumps(rows), encoding="utf-8")


def _as_number(key: str) -> int | str:
    return int(key) if key.isdecimal() and str(int(key)) == key else key


def _results(file: Path, key: str, value: str) -> dict[Any, str]:
    found: dict[Any, str] = {}
    rows = read_json(file)
    if not isinstance(rows, list) or not rows:
        raise UserError(f"{file}: a list of {{{key!r}: …, {value!r}: …}} is expected, with one entry or more.")
    for number, row in enumerate(rows):
        place = f"{file}, entry {number}"
        if not isinstance(row, dict):
            raise UserError(f"{place}: {{{key!r}: …, {value!r}: …}} is expected, got {row!r:.100}.")
        put(found, identifier(row, key, place), text(row, value, place), place)
    return found


def _all_known(found: Mapping, known: Mapping, results: Path, annotations: Path, what: str) -> None:
    if strange := [key for key in found if key not in known]:
        raise UserError(
            f"{results}: {len(strange):,} of {len(found):,} entries are of no {what} in {annotations}, such as "
            f"{strange[0]!r}: results and annotations are of different splits."
        )
