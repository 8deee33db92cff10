"""vlfusion train --config=FILE.py[:ARG] [--workdir=DIR] [--config.KEY=VALUE ...]

Trains the run, evaluates it, prints a table and draws curves. The same command again resumes from the newest checkpoint
of the work directory, exactly; SIGTERM and Ctrl-C save first, and then the exit status is 75.
"""

import sys
from pathlib import Path
from typing import Any

import jax
from absl import flags
from PIL import Image

from vlfusion_jax.cli.arguments import define_config_flag, parse_with_config
from vlfusion_jax.cli.devices import define_device_flags, start_devices
from vlfusion_jax.cli.evaluate import consistency_of, evaluator, judge_split, print_table, show_judgements
from vlfusion_jax.cli.training import STOPPED, open_splits, prepare, train_prepared
from vlfusion_jax.config.resume import check_workdir
from vlfusion_jax.data.layout import layout_of
from vlfusion_jax.data.records import Source
from vlfusion_jax.evals.blind import blind_accuracy
from vlfusion_jax.models.families.table import load_stored
from vlfusion_jax.serve.predictor import Predictor, answer_some
from vlfusion_jax.train.metrics import read_metrics
from vlfusion_jax.train.report import draw_answers, draw_curves
from vlfusion_jax.train.setup import Run

SHOWN_ANSWERS = 8


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    define_config_flag(values)
    flags.DEFINE_string("workdir", "", "where the run lives; default runs/NAME of the config", flag_values=values)
    flags.DEFINE_string(
        "init_from",
        "",
        "work directory or checkpoint whose weights a new run starts from; several, with commas, start a tower each",
        flag_values=values,
    )
    define_device_flags(values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Train to the last step, from wherever the work directory stands, and show how good it is."""
    config = parse_with_config(values, arguments)
    config.init_from = values.init_from or config.init_from
    workdir = Path(values.workdir or Path("runs") / config.name)
    check_workdir(workdir, config, load_stored)
    start_devices(values)

    splits = open_splits(config.data)
    job = prepare(config, splits, workdir)
    outcome = train_prepared(job, splits, workdir)
    if not outcome.finished:
        sys.exit(STOPPED)
    metrics = outcome.evaluation or evaluator(job, splits.test)(outcome.state.params)
    judgements = judge_split(job, outcome.state.params, splits.test)
    metrics = metrics | consistency_of(judgements, config)
    blind = blind_accuracy(*splits, config.data.eval_limit) if layout_of(config).asks else {}
    print_table(metrics, blind, config)
    show_judgements(judgements, workdir)
    _draw(job, outcome.state.params, splits.test, workdir)


def _draw(job: Run, params: Any, test: Source, workdir: Path) -> None:
    # Every host takes part in answering, one draws. Of regions there is no picture to draw.
    shows = job.config.tasks.vqa.weight and not job.config.data.regions
    answered = answer_some(Predictor(job, params), test, SHOWN_ANSWERS) if shows else []
    if jax.process_index() == 0:
        draw_curves(read_metrics(workdir), workdir / "curves.png")
        if answered:
            draw_answers(answered, workdir / "answers.png")
            Image.fromarray(answered[0].image).save(workdir / "example.png")
        print(f"{'curves and answers' if answered else 'curves'} are drawn in {workdir}")
