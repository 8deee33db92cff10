"""A run that answers questions about images, on the devices it is trained on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data import images
from vlfusion_jax.data.examples import canvas_of, fills_texts
from vlfusion_jax.data.records import Source
from vlfusion_jax.data.vocabulary import Vocabulary
from vlfusion_jax.models.families.table import model_spec
from vlfusion_jax.serve.answers import Answer, best_answers
from vlfusion_jax.serve.inputs import check_pictures
from vlfusion_jax.train.report import Answered
from vlfusion_jax.train.setup import Run


class Predictor:
    """Answers by a run's model.

    Args:
      run: see `train.setup.Run`; needs the `vqa` task.
      params: sharded parameters.

    Raises:
      UserError: the run was not trained to answer.
    """

    def __init__(self, run: Run, params: Any):
        _check_answers(run.config, run.vocabulary)
        self._run, self._params = run, params

    def answer_all(
        self, pictures: Sequence[str | Path | np.ndarray], questions: Sequence[str], top: int = 5
    ) -> list[list[Answer]]:
        """The `top` most probable answers, best first, to a question about each image, in one batch.

        Args:
          pictures: paths of image files, or [height, width, 3] uint8 RGB.
          questions: as many texts.
          top: how many answers.

        Raises:
          UserError: a file cannot be read or is no image, or an array has another shape or type.
        """
        config, vocabulary = self._run.config, self._run.vocabulary
        fitted = [images.place(images.read_image(image), canvas_of(config.data)) for image in pictures]
        length, fill = config.data.question_length, fills_texts(config)
        encoded = [vocabulary.encode(question, length, fill) for question in questions]
        columns = {
            names.IMAGE: [image for image, _ in fitted],
            names.IMAGE_MASK: [mask for _, mask in fitted],
            names.key(names.QUESTION, names.TEXT): [ids for ids, _ in encoded],
            names.key(names.QUESTION, names.TEXT_MASK): [mask for _, mask in encoded],
        }
        logits = self._run.predict_step(self._params, {name: self._rows(rows) for name, rows in columns.items()})
        logits = np.asarray(jax.device_get(logits))[: len(questions)]
        return best_answers(logits, vocabulary.answers, config.tasks.vqa.loss, top)

    def _rows(self, rows: Sequence[np.ndarray]) -> jax.Array:
        """Global array of the rows, all of which every host has; the last is repeated until the devices divide them."""
        spare = -len(rows) % self._run.strategy.batch_parts
        array = np.stack([*rows, *[rows[-1]] * spare])
        return jax.make_array_from_callback(array.shape, self._run.batch_sharding, lambda index: array[index])


def _check_answers(config: ConfigDict, vocabulary: Vocabulary) -> None:
    """Raise UserError where a model does not answer about pictures; one that reads no text does, whatever is asked."""
    if not config.tasks.vqa.weight:
        raise UserError(f"run {config.name!r} cannot answer questions: its tasks.vqa.weight is 0.")
    check_pictures(model_spec(config, vocabulary.size, len(vocabulary.answers)))


def answer_some(predictor: Predictor, source: Source, count: int) -> list[Answered]:
    """One question each of `count` images spread evenly over `source`, answered; the same ones every time.

    Images without questions are left out.
    """
    asked = [number for number in range(len(source)) if source.text_of(number)[1]]
    count = min(count, len(asked))
    chosen = [asked[i * len(asked) // count] for i in range(count)]
    records = [source[number] for number in chosen]
    questions = [record.questions[i * 7 % len(record.questions)] for i, record in enumerate(records)]
    pixels = [images.decode_image(record.image, record.image_name) for record in records]
    if not questions:
        return []
    answers = predictor.answer_all(pixels, [question.text for question in questions], top=1)
    return [
        Answered(image, question.text, *best, truth=question.answers[0][0], correct=best.text in dict(question.answers))
        for image, question, [best] in zip(pixels, questions, answers, strict=True)
    ]
