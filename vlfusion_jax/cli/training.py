"""A training run from its config on: what `train` does once and `compare` for each of its configs."""

from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from vlfusion_jax.cli.evaluate import evaluator, other_metrics
from vlfusion_jax.config.resume import write_config
from vlfusion_jax.data.global_array import local_rows
from vlfusion_jax.data.pipeline import check_data, check_eval_data, train_batches
from vlfusion_jax.data.records import Source
from vlfusion_jax.data.source import fingerprint, open_source
from vlfusion_jax.data.vectors import ReferenceVectors
from vlfusion_jax.data.vocabulary import Vocabulary, build_vocabulary, unanswerable
from vlfusion_jax.train.begin import say, source_of_words
from vlfusion_jax.train.checkpoint import load_meta
from vlfusion_jax.train.checkpoint_folders import has_checkpoint
from vlfusion_jax.train.loop import Outcome, train
from vlfusion_jax.train.setup import Run, build, check_best_metric

# Exit status of a run that a signal stopped, sysexits.h's "try again": nothing is wrong, and it is not trained yet.
STOPPED = 75


class Splits(NamedTuple):
    """What a run learns from, and what it is evaluated on."""

    training: Source
    test: Source


def open_splits(data: ConfigDict) -> Splits:
    """Both splits that `config.data` names."""
    return Splits(open_source(data, data.train_split), open_source(data, data.eval_split))


def prepare(config: ConfigDict, splits: Splits, workdir: Path) -> Run:
    """The run of `config` in `workdir`, held to fit its data; nothing is allocated or written."""
    vocabulary = vocabulary_of(config, splits.training, _vocabulary_to_go_on_with(config, workdir))
    check_data(config, splits.training, vocabulary)
    check_eval_data(config, splits.test, vocabulary)
    if config.tasks.vqa.weight:
        asked = (each for index in range(len(splits.training)) for each in splits.training.text_of(index)[1])
        if left_out := unanswerable(asked, vocabulary.answer_id):
            say(left_out)
    job = build(config, vocabulary)
    check_best_metric(job, other_metrics(config))
    return job


def vocabulary_of(config: ConfigDict, training: Source, base: Vocabulary | None = None) -> Vocabulary:
    """The vocabulary of a run; see `build_vocabulary`, also for `base`."""
    return build_vocabulary([training], config.data, base, writes_answers=config.tasks.answer.weight > 0)


def train_prepared(job: Run, splits: Splits, workdir: Path) -> Outcome:
    """Train to the last step, from wherever `workdir` stands, evaluating on the test split."""
    evaluate = evaluator(job, splits.test)  # or what is wrong, before anything is written
    write_config(workdir, job.config)
    rows = local_rows(job.batch_sharding, job.config.train.batch_size)
    return train(
        job,
        lambda step: train_batches(job.config, splits.training, job.vocabulary, start_step=step, rows=rows),
        workdir,
        evaluate,
        _fingerprint(job.config, splits.training),
    )


def _fingerprint(config: ConfigDict, training: Source) -> str:
    """That of the training data, with the vectors that it has for captions where they are trained on."""
    if not config.tasks.context.weight:
        return fingerprint(training)
    return f"{fingerprint(training)}-{ReferenceVectors(training, config.tasks.context.width).fingerprint()}"


def _vocabulary_to_go_on_with(config: ConfigDict, workdir: Path) -> Vocabulary | None:
    """That of the weights a run starts from; None for a run from nothing."""
    if not config.init_from:
        return None
    source = str(workdir) if has_checkpoint(workdir) else source_of_words(config)
    if not source:
        return None
    meta = load_meta(source)
    return Vocabulary.from_dict(meta["vocabulary"])
