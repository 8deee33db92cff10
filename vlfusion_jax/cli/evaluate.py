"""vlfusion evaluate --workdir=DIR [--split=NAME] [--json] [--judgements=FILE.csv] [--config.KEY=VALUE ...]

Evaluates the newest checkpoint of a run on all questions and captions of a split, and prints a table: the run, what the
question alone allows, and published figures where the config has some. Of labelled statements a second table shows
each class, and confusion.png in the work directory which is taken for which; --judgements writes those on pairs of
images, as NLVR2's own evaluation and `vlfusion score nlvr` read them. The config is the run's own; keys such as
--config.data.path or --config.sharding may be changed.
"""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict

from vlfusion_jax.cli.arguments import parse_over_config
from vlfusion_jax.cli.devices import define_device_flags, start_devices
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.global_array import local_rows
from vlfusion_jax.data.layout import layout_of
from vlfusion_jax.data.pipeline import eval_batches
from vlfusion_jax.data.records import Source
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.vocabulary import Vocabulary
from vlfusion_jax.evals.blind import blind_accuracy
from vlfusion_jax.evals.captioning import CAPTIONING_METRICS
from vlfusion_jax.evals.judgements import Judgements, judge
from vlfusion_jax.evals.nlvr_files import write_judgements
from vlfusion_jax.evals.retrieval import DEPTHS
from vlfusion_jax.evals.runner import evaluate
from vlfusion_jax.evals.table import format_table
from vlfusion_jax.models.families.table import load_stored
from vlfusion_jax.serve.answering import answering_evaluator
from vlfusion_jax.serve.captioning import split_metrics
from vlfusion_jax.serve.gallery import retrieval_evaluator
from vlfusion_jax.train.begin import say
from vlfusion_jax.train.checkpoint import load_meta, load_params
from vlfusion_jax.train.checkpoint_folders import FOLDER
from vlfusion_jax.train.report import draw_confusion
from vlfusion_jax.train.setup import Run, build


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    flags.DEFINE_string("workdir", "", "work directory of the run, or the folder of one checkpoint", flag_values=values)
    flags.DEFINE_string("split", "", "split to evaluate on; default the run's data.eval_split", flag_values=values)
    flags.DEFINE_boolean("json", False, "also print the metrics as one line of JSON, last", flag_values=values)
    flags.DEFINE_string(
        "judgements", "", "file to write, of tasks.nlvr: each identifier, True or False", flag_values=values
    )
    define_device_flags(values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Evaluate a trained run and print the table."""

    def stored_config() -> ConfigDict:
        if not values.workdir:
            raise UserError("--workdir is missing: give the work directory of a trained run.")
        return load_stored(load_meta(values.workdir)["config"], values.workdir)

    config = parse_over_config(values, arguments, stored_config)
    if values.split:
        config.data.eval_split = values.split
    _check_judgements(values.judgements, config)
    start_devices(values)
    job = build(config, Vocabulary.from_dict(load_meta(values.workdir)["vocabulary"]))
    params = load_params(values.workdir, job.abstract_state.params)
    test = open_source(config.data, config.data.eval_split)
    if values.judgements and not all(question.id for index in range(len(test)) for question in test.text_of(index)[1]):
        raise UserError("the data do not say the identifiers of their statements, which --judgements writes.")
    judgements = judge_split(job, params, test)
    metrics = evaluator(job, test)(params) | consistency_of(judgements, config)
    blind = question_only(config, test)
    print_table(metrics, blind, config)
    folder = Path(values.workdir)
    show_judgements(judgements, folder if (folder / FOLDER).is_dir() else None)
    if values.judgements and jax.process_index() == 0:
        verdicts = [judgements.classes[best] == names.VERDICTS[1] for best in judgements.predictions]
        write_judgements(Path(values.judgements), dict(zip(judgements.ids, verdicts, strict=True)))
        say(f"{len(verdicts):,} judgements are in {values.judgements}")
    if values.json and jax.process_index() == 0:
        print(json.dumps(metrics | blind))


def _check_judgements(file: str, config: ConfigDict) -> None:
    """Hold that what --judgements asks for can be written, before anything is computed."""
    if not file:
        return
    if not config.tasks.nlvr.weight:
        raise UserError("--judgements is of statements on pairs of images; this run has no task nlvr: leave it out.")
    if not Path(file).parent.is_dir():
        raise UserError(f"--judgements is {file!r}, whose folder does not exist: make it first.")


def evaluator(job: Run, test: Source) -> Callable[[Any], dict[str, float]]:
    """Function parameters → metrics over all of `test`, the same on every host.

    Those of the tasks; of a run that compares images and texts also recall, of one that writes captions their scores,
    of one that writes answers the score of those it chooses.
    """
    rows, tasks = local_rows(job.batch_sharding, job.config.eval.batch_size), job.config.tasks
    recalls = retrieval_evaluator(job, test) if tasks.itc.weight else None
    answers = answering_evaluator(job, test) if tasks.answer.weight else None

    def metrics_of(params: Any) -> dict[str, float]:
        with contextlib.closing(eval_batches(job.config, test, job.vocabulary, rows=rows)) as batches:
            metrics = evaluate(job, params, batches)
        metrics |= recalls(params) if recalls else {}
        metrics |= answers(params) if answers else {}
        return metrics | (split_metrics(job, params, test) if tasks.caption.weight else {})

    return metrics_of


def other_metrics(config: ConfigDict) -> list[str]:
    """Names of the metrics of `evaluator` that are not the tasks' own and that a checkpoint may be chosen by."""
    tasks = config.tasks
    recalls = [f"{way}_r{depth}" for way in ("text_to_image", "image_to_text") for depth in DEPTHS]
    recalls += [f"similarity_{name}" for name in recalls] if tasks.itm.weight else []
    captions = [*CAPTIONING_METRICS, *["caption_pattern_accuracy"] * bool(config.eval.caption_pattern)]
    answers = ["answer_accuracy"]
    return (
        recalls * (tasks.itc.weight > 0) + captions * (tasks.caption.weight > 0) + answers * (tasks.answer.weight > 0)
    )


def judge_split(job: Run, params: Any, test: Source) -> Judgements | None:
    """What each statement of `test` is taken for; None where its texts are no labelled statements, or no classes."""
    tasks = job.config.tasks
    if not test.labelled or not (tasks.vqa.weight or tasks.nlvr.weight):
        return None
    rows = local_rows(job.batch_sharding, job.config.eval.batch_size)
    with contextlib.closing(eval_batches(job.config, test, job.vocabulary, rows=rows)) as batches:
        return judge(job, params, batches, test)


def consistency_of(judgements: Judgements | None, config: ConfigDict) -> dict[str, float]:
    """The second metric of statements on pairs of images."""
    return {"consistency": judgements.consistency} if judgements and config.tasks.nlvr.weight else {}


def show_judgements(judgements: Judgements | None, folder: Path | None) -> None:
    """Print a table of the classes, and draw confusion.png in `folder` where there is one, from process 0."""
    if judgements and jax.process_index() == 0:
        print(f"\n{judgements.report}")
        if folder:
            draw_confusion(judgements.matrix, judgements.classes, folder / "confusion.png")


def question_only(config: ConfigDict, test: Source) -> dict[str, float]:
    """What the question alone allows on `test`; empty for a run that answers none, or without training data."""
    if not layout_of(config).asks:
        return {}
    try:
        training = open_source(config.data, config.data.train_split)
    except (UserError, OSError) as error:
        say(f"without the training split the table lacks what the question alone allows: {error}")
        return {}
    return blind_accuracy(training, test, config.data.eval_limit)


def print_table(metrics: dict[str, float], blind: dict[str, float], config: ConfigDict) -> None:
    """Print an evaluation beside its question-only bound and the published figures, from process 0."""
    if jax.process_index() == 0:
        print(format_table(metrics, blind, config.published.to_dict()))
