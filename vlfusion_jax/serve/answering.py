"""How often a run that writes answers is right on a whole split, its answers chosen among those that it knows."""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.global_array import local_rows, to_global
from vlfusion_jax.data.pipeline import eval_batches, eval_questions
from vlfusion_jax.data.records import Question, Source
from vlfusion_jax.layers.attention import attention_by
from vlfusion_jax.serve.writing import SHORTLIST, Writer, encode_and_rank
from vlfusion_jax.train.setup import Run
from vlfusion_jax.train.views import view_inputs

_WRITTEN = (names.TARGET, names.mask_of(names.TARGET), names.WORD_WEIGHTS)


def answering_evaluator(run: Run, source: Source) -> Callable[[Any], dict[str, float]]:
    """Function (sharded parameters) → `answering_metrics` of a run on a split, the same on every host.

    The answer to a question is the most probable of the run's vocabulary, as in BLIP (Li et al. 2022, section 5.3): see
    `models.rank`; those of `eval.batch_size` images are found at a time. The function compiles once, at its first call.

    Args:
      run: see `train.setup.Run`; of the task `answer`.
      source: the split.

    Raises:
      UserError: the run knows no answers, or one that is longer than the model has room for.
    """
    config, answers = run.config, run.vocabulary.answers
    if not answers:
        raise UserError(
            "task answer is evaluated by the most probable of the answers that a run knows, and this one knows none: "
            "convert it with --answers=FILE, one a line, or fine-tune it on data that have some."
        )
    rows = local_rows(run.batch_sharding, config.eval.batch_size)
    texts, mask = Writer(run.model, config.model, run.vocabulary).candidates(answers, names.ANSWER)

    def found(params: Any, inputs: Mapping[str, jax.Array]) -> jax.Array:
        shortlist = min(SHORTLIST, len(answers))
        numbers, _ = encode_and_rank(run.model, names.ANSWER, 1, shortlist, params, inputs, texts, mask)
        return numbers[:, 0]

    best = jax.jit(found, out_shardings=run.strategy.replicated)

    def answers_to(params: Any, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Numbers of the answers to the questions of a batch, of all hosts."""
        inputs = {name: x for name, x in view_inputs(batch, names.ANSWERED).items() if name not in _WRITTEN}
        return jax.device_get(best(params, to_global(inputs, run.batch_sharding)))

    def metrics_of(params: Any) -> dict[str, float]:
        with (
            contextlib.closing(eval_batches(config, source, run.vocabulary, rows=rows)) as batches,
            run.strategy.activate(),
            attention_by(config.attention),
        ):
            numbers = np.concatenate([answers_to(params, batch) for batch in batches])
        return answering_metrics(eval_questions(config, source), [answers[number] for number in numbers])

    return metrics_of


def answering_metrics(questions: Iterable[Question | None], answers: Iterable[str]) -> dict[str, float]:
    """`answer_accuracy`, the mean score of the answers, and `answer_accuracy_<kind>` of every kind of question.

    Without what is no question, and those that the data answer nowhere; empty where none is left.

    Args:
      questions: with what is right of each; None = none.
      answers: as many.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    for question, answer in zip(questions, answers, strict=True):
        if question is not None and question.answers:
            for name in ("answer_accuracy", *([f"answer_accuracy_{question.kind}"] if question.kind else [])):
                scores[name].append(dict(question.answers).get(answer, 0.0))
    return {name: sum(values) / len(values) for name, values in scores.items()}
