"""Many pictures at once: lines of a file, or the questions of a split, in batches of few shapes.

A line is an object with the path of an `image`, relative to the file, and a `question`, or `texts` to be matched with
it; with neither, the picture is captioned. Whatever else it has is handed on.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data import images
from vlfusion_jax.data.records import Record, Source
from vlfusion_jax.serve.model import Model
from vlfusion_jax.serve.reading import read_records

IMAGE, QUESTION, TEXTS = "image", "question", "texts"
_READERS = 8  # threads that decode pictures


@dataclass(frozen=True)
class Line:
    """A line of a file: its number from 1, what it holds, and why it cannot be used; '' = it can."""

    number: int
    row: dict[str, Any]
    fault: str = ""


def read_lines(file: Path) -> list[Line]:
    """Lines of a file of objects, blank ones left out.

    Raises:
      UserError: the file cannot be read, or has no line.
    """
    try:
        lines = [_line(n, text) for n, text in enumerate(file.read_bytes().split(b"\n"), start=1) if text.strip()]
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}.") from error
    if not lines:
        raise UserError(f'{file}: is empty; a line is {{"{IMAGE}": FILE, "{QUESTION}": TEXT}}, for one.')
    return lines


def _line(number: int, text: bytes) -> Line:
    try:
        row = json.loads(text)
    except ValueError as error:  # also invalid UTF-8
        return Line(number, {}, f"is no JSON: {error}")
    if not isinstance(row, dict):
        return Line(number, {}, f"is no object but {type(row).__name__}")
    for key in (IMAGE, QUESTION):
        if (key == IMAGE or key in row) and not (isinstance(row.get(key), str) and row[key].strip()):
            return Line(number, row, f"{key!r} is not a text" if key in row else f"has no {key!r}")
    if QUESTION in row and TEXTS in row:
        return Line(number, row, f"has both {QUESTION!r} and {TEXTS!r}: give one of them")
    texts = row.get(TEXTS, [""])
    if not (isinstance(texts, list) and texts and all(isinstance(each, str) for each in texts)):
        return Line(number, row, f"{TEXTS!r} is not a list of texts")
    return Line(number, row)


def predict_lines(model: Model, lines: Sequence[Line], folder: Path, top: int, size: int) -> list[dict[str, Any]]:
    """For each line what it holds with its number as `line`, and the prediction, or why there is none as `error`.

    A prediction is `answer` with its `probability` and the `top` most probable `answers`, or `caption`, or `scores`,
    the probability of a match for each of the texts.

    Args:
      model: that predicts.
      lines: of `read_lines`.
      folder: that the paths of images are relative to.
      top: how many answers are given.
      size: lines of a batch.
    """
    found: dict[int, dict[str, Any]] = {line.number: {"error": line.fault} for line in lines if line.fault}
    usable = [line for line in lines if not line.fault]

    def read(line: Line) -> np.ndarray | str:
        try:
            return images.read_image(folder / line.row[IMAGE])
        except UserError as error:
            return str(error)

    def answered(chunk: list[Line], pixels: list[np.ndarray]) -> list[dict[str, Any]]:
        questions = [line.row[QUESTION] for line in chunk]
        return [
            {"answer": best[0].text, "probability": best[0].probability, "answers": [each._asdict() for each in best]}
            for best in _padded(lambda *rows: model.answers(*rows, top=top), size, pixels, questions)
        ]

    def captioned(_: list[Line], pixels: list[np.ndarray]) -> list[dict[str, Any]]:
        return [{"caption": caption} for caption in _padded(model.captions, size, pixels)]

    def matched(chunk: list[Line], pixels: list[np.ndarray]) -> list[dict[str, Any]]:
        pairs = zip(chunk, pixels, strict=True)
        return [{"scores": model.score(picture, line.row[TEXTS])} for line, picture in pairs]

    predict = {QUESTION: answered, "": captioned, TEXTS: matched}
    with ThreadPoolExecutor(_READERS) as readers, tqdm(total=len(lines), unit=" lines", disable=None) as progress:
        progress.update(len(found))
        for kind, chunk in _chunks(model, usable, size):
            pixels = dict(zip((line.number for line in chunk), readers.map(read, chunk), strict=True))
            found |= {number: {"error": x} for number, x in pixels.items() if isinstance(x, str)}
            if seen := [line for line in chunk if line.number not in found]:
                try:
                    made = predict[kind](seen, [pixels[line.number] for line in seen])
                except UserError as error:  # what the model cannot do
                    made = [{"error": str(error)}] * len(seen)
                found |= {line.number: each for line, each in zip(seen, made, strict=True)}
            progress.update(len(chunk))
    return [line.row | {"line": line.number} | found[line.number] for line in lines]


def _chunks(model: Model, lines: list[Line], size: int) -> Iterator[tuple[str, list[Line]]]:
    """At most `size` lines of a kind at a time, questions with others of about their length."""
    kinds: dict[str, list[Line]] = {QUESTION: [], "": [], TEXTS: []}
    for line in lines:
        kinds[next((key for key in (QUESTION, TEXTS) if key in line.row), "")].append(line)
    kinds[QUESTION].sort(key=lambda line: model.vocabulary.length_of(line.row[QUESTION]))
    for kind, own in kinds.items():
        for start in range(0, len(own), size):
            yield kind, own[start : start + size]


def _padded(predict: Callable[..., list], size: int, *rows: list) -> list:
    """Results of `predict`, which always gets `size` rows, so that it is compiled once: the last stands for others."""
    count = len(rows[0])
    return predict(*(each + each[-1:] * (size - count) for each in rows))[:count]


def answer_split(model: Model, source: Source, size: int) -> tuple[list[str], list[str]]:
    """Ids of all questions of a split, and the answer to each.

    A model that writes answers and knows some chooses among these, as in BLIP (Li et al. 2022, section 5.3).

    Raises:
      UserError: the split asks nothing, has no ids or pairs of images, an image cannot be decoded, or the model does
        not answer.
    """
    asked = [(index, question) for index in range(len(source)) for question in source.text_of(index)[1]]
    if not asked:
        raise UserError("the split has no questions.")
    if not all(question.id for _, question in asked):
        raise UserError("the data do not say the ids of their questions, by which a server knows them.")
    lengths = [model.vocabulary.length_of(question.text) for _, question in asked]
    order = sorted(range(len(asked)), key=lambda n: (-(-lengths[n] // 8), n))  # an image's questions stay together
    # Of a model with classes these are the answers.
    candidates = () if names.VQA in model.heads else model.vocabulary.answers
    answers, in_order = [""] * len(asked), iter(order)
    for seen in _named_images(source, [asked[n][0] for n in order], size, " questions"):
        chunk = list(islice(in_order, len(seen)))
        questions, pixels = [asked[n][1].text for n in chunk], [image for _, image in seen]
        found = _padded(lambda *rows: model.answers(*rows, top=1, candidates=candidates), size, pixels, questions)
        for n, [best] in zip(chunk, found, strict=True):
            answers[n] = best.text
    return [question.id for _, question in asked], answers


def caption_images(model: Model, source: Source, size: int) -> list[tuple[str, str]]:
    """The name of every image of a split with its caption.

    Raises:
      UserError: the split has pairs of images, an image cannot be decoded, or the model writes no captions.
    """
    found = []
    for seen in _named_images(source, range(len(source)), size, " images"):
        of_images, pixels = zip(*seen, strict=True)
        found += zip(of_images, _padded(model.captions, size, list(pixels)), strict=True)
    return found


def _named_images(
    source: Source, records: Sequence[int], size: int, unit: str
) -> Iterator[list[tuple[str, np.ndarray]]]:
    """At most `size` at a time, the name of the image of each record, and its pixels."""
    if source.images_per_record > 1:
        raise UserError("the split is of pairs of images; one at a time is predicted.")

    def read(record: Record) -> tuple[str, np.ndarray]:
        return record.image_name, images.decode_image(record.image, record.image_name)

    return read_records(source, records, size, read, unit)
