"""What a run takes each labelled statement of a split for."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from vlfusion_jax.core import names
from vlfusion_jax.data.global_array import to_global
from vlfusion_jax.data.pipeline import eval_questions
from vlfusion_jax.data.records import Source
from vlfusion_jax.evals.classification import class_report, confusion_matrix, statement_scores


@dataclass(frozen=True)
class Judgements:
    """One of each statement, in the order of an evaluation.

    Attributes:
      classes: names of the classes.
      statements: texts.
      ids: what the data set calls each, '' where it has no such name.
      labels, predictions: numbers of classes, both [statements] int64.
    """

    classes: tuple[str, ...]
    statements: tuple[str, ...]
    ids: tuple[str, ...]
    labels: np.ndarray
    predictions: np.ndarray

    @cached_property
    def matrix(self) -> np.ndarray:
        """See `classification.confusion_matrix`."""
        return confusion_matrix(self.labels, self.predictions, len(self.classes))

    @property
    def report(self) -> str:
        """See `classification.class_report`."""
        return class_report(self.matrix, self.classes)

    @property
    def consistency(self) -> float:
        """Share of the different statements that are judged right wherever they stand (Suhr et al. 2019)."""
        return statement_scores(self.statements, self.labels == self.predictions)["consistency"]


def judge(run: Any, params: Any, batches: Iterable[dict[str, np.ndarray]], source: Source) -> Judgements:
    """The class that `run.predict_step` ranks first, for every statement.

    A label that training did not have is a class of its own, behind the others, which nothing is taken for.

    Args:
      run: see `train.setup.Run`.
      params: sharded parameters.
      batches: this host's part of the batches of `data.pipeline.eval_batches` on `source`.
      source: the split, whose statements have one label each.
    """
    predicted = [
        np.asarray(jax.device_get(run.predict_step(params, to_global(batch, run.batch_sharding)))).argmax(-1)
        for batch in batches
    ]
    shown = eval_questions(run.config, source)
    pairs = [(each, best) for each, best in zip(shown, np.concatenate(predicted), strict=True) if each is not None]
    labels = [question.answers[0][0] for question, _ in pairs]
    known = names.VERDICTS if run.config.tasks.nlvr.weight else run.vocabulary.answers
    classes = (*known, *sorted(set(labels) - set(known)))
    number = {name: i for i, name in enumerate(classes)}
    return Judgements(
        classes,
        tuple(question.text for question, _ in pairs),
        tuple(question.id for question, _ in pairs),
        np.array([number[label] for label in labels], np.int64),
        np.array([best for _, best in pairs], np.int64),
    )
