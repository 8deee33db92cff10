"""A run that answers questions about images, on the devices it is trained on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data import images
from vlfusion_jax.data.layout import fills_texts
from vlfusion_jax.data.records import Source
from vlfusion_jax.serve.answers import Answer, best_answers
from vlfusion_jax.serve.inputs import picture_arrays, text_arrays
from vlfusion_jax.train.report import Answered
from vlfusion_jax.train.setup import Run


class Predictor:
    """Answers by a run's model; one that reads text alone, or pictures alone, answers from these.

    Args:
      run: see `train.setup.Run`; needs the `vqa` task.
      params: sharded parameters.

    Raises:
      UserError: the run was not trained to answer.
    """

    def __init__(self, run: Run, params: Any):
        if not run.config.tasks.vqa.weight:
            raise UserError(f"run {run.config.name!r} cannot answer questions: its tasks.vqa.weight is 0.")
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
        # As in training, where a question that is too long is cut without a word.
        read = text_arrays(questions, names.TEXT, vocabulary, config.data.question_length, fills_texts(config))
        batch = {names.key(names.QUESTION, name): array for name, array in read.items()}
        batch |= picture_arrays(pictures, config.data)
        logits = self._run.predict_step(self._params, {name: self._global(array) for name, array in batch.items()})
        logits = np.asarray(jax.device_get(logits))[: len(questions)]
        return best_answers(logits, vocabulary.answers, config.tasks.vqa.loss, top)

    def _global(self, array: np.ndarray) -> jax.Array:
        """Global array of rows that every host has; the last is repeated until the devices divide them."""
        spare = -len(array) % self._run.strategy.batch_parts
        array = np.concatenate([array, np.repeat(array[-1:], spare, axis=0)])
        return jax.make_array_from_callback(array.shape, self._run.batch_sharding, lambda index: array[index])


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
