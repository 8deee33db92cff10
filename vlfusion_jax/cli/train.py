"""vlfusion train --config=FILE.py[:ARG] [--workdir=DIR] [--config.KEY=VALUE ...]

Trains the run, evaluates it, prints a table and draws curves. The same command again resumes from the newest checkpoint
of the work directory, exactly; SIGTERM and Ctrl-C save first.
"""

from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import ConfigDict
from PIL import Image

from vlfusion_jax.cli.arguments import define_config_flag, parse_with_config
from vlfusion_jax.cli.devices import define_device_flags, start_devices
from vlfusion_jax.cli.evaluate import evaluate_split, print_table
from vlfusion_jax.config.resume import check_workdir, write_config
from vlfusion_jax.data.global_array import local_rows
from vlfusion_jax.data.pipeline import check_data, check_eval_data, train_batches
from vlfusion_jax.data.records import Source
from vlfusion_jax.data.source import fingerprint, open_source
from vlfusion_jax.data.vocabulary import Vocabulary, build_vocabulary
from vlfusion_jax.evals.blind import blind_accuracy
from vlfusion_jax.serve.predictor import Predictor, answer_some
from vlfusion_jax.train.checkpoint import has_checkpoint, load_meta
from vlfusion_jax.train.loop import train
from vlfusion_jax.train.metrics import read_metrics
from vlfusion_jax.train.report import draw_answers, draw_curves
from vlfusion_jax.train.setup import Run, build, check_best_metric

SHOWN_ANSWERS = 8


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    define_config_flag(values)
    flags.DEFINE_string("workdir", "", "where the run lives; default runs/NAME of the config", flag_values=values)
    flags.DEFINE_string(
        "init_from", "", "work directory or checkpoint whose weights a new run starts from", flag_values=values
    )
    define_device_flags(values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Train to the last step, from wherever the work directory stands, and show how good it is."""
    config = parse_with_config(values, arguments)
    config.init_from = values.init_from or config.init_from
    workdir = Path(values.workdir or Path("runs") / config.name)
    check_workdir(workdir, config)
    start_devices(values)

    training, test = (open_source(config.data, split) for split in (config.data.train_split, config.data.eval_split))
    vocabulary = build_vocabulary([training], config.data, _vocabulary_to_go_on_with(config, workdir))
    check_data(config, training, vocabulary)
    check_eval_data(config, test, vocabulary)
    job = build(config, vocabulary)
    check_best_metric(job)
    write_config(workdir, config)

    rows = local_rows(job.batch_sharding, config.train.batch_size)
    outcome = train(
        job,
        lambda step: train_batches(config, training, vocabulary, start_step=step, rows=rows),
        workdir,
        lambda params: evaluate_split(job, params, test),
        fingerprint(training),
    )
    if not outcome.finished:
        return
    metrics = outcome.evaluation or evaluate_split(job, outcome.state.params, test)
    blind = blind_accuracy(training, test, config.data.eval_limit) if config.tasks.vqa.weight else {}
    print_table(metrics, blind, config)
    _draw(job, outcome.state.params, test, workdir)


def _vocabulary_to_go_on_with(config: ConfigDict, workdir: Path) -> Vocabulary | None:
    """That of the weights a run starts from; None for a run from nothing."""
    if not config.init_from:
        return None
    meta = load_meta(workdir if has_checkpoint(workdir) else config.init_from)
    return Vocabulary.from_dict(meta["vocabulary"])


def _draw(job: Run, params: Any, test: Source, workdir: Path) -> None:
    # Every host takes part in answering, one draws.
    answered = answer_some(Predictor(job, params), test, SHOWN_ANSWERS) if job.config.tasks.vqa.weight else []
    if jax.process_index() == 0:
        draw_curves(read_metrics(workdir), workdir / "curves.png")
        if answered:
            draw_answers(answered, workdir / "answers.png")
            Image.fromarray(answered[0].image).save(workdir / "example.png")
        print(f"curves and answers are drawn in {workdir}")
