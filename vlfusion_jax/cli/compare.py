"""vlfusion compare [--configs=FILE.py[:ARG],…] [--data=FOLDER] [--steps=N] [--reach=SHARE] [--out=DIR]
                    [--config.KEY=VALUE ...]

Trains every config on the same data with the same budget, and sets the runs side by side: accuracy, what the question
alone allows, parameters, FLOPs and speed, as a table (OUT/comparison.md) and a plot (OUT/comparison.png). By default
the fusion baselines and our kinds of Transformer, in the sizes of configs/families.py.

Each is an ordinary run with a work directory of its own in OUT; the same command again goes on from where it stopped.
"""

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from absl import flags
from ml_collections import ConfigDict

from vlfusion_jax.cli.arguments import parse_but_overrides, resolve
from vlfusion_jax.cli.devices import define_device_flags, start_devices
from vlfusion_jax.cli.training import STOPPED, open_splits, prepare, train_prepared
from vlfusion_jax.config.keys import flatten
from vlfusion_jax.config.load import load_config, split_arg
from vlfusion_jax.config.resume import check_workdir
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.evals.blind import blind_accuracy
from vlfusion_jax.models.families import baselines, plain
from vlfusion_jax.models.families.table import FAMILIES, load_stored
from vlfusion_jax.models.flops import row_flops
from vlfusion_jax.models.parameters import part_parameters
from vlfusion_jax.train.begin import say
from vlfusion_jax.train.comparison import Contender, comparison_table, draw_comparison
from vlfusion_jax.train.metrics import read_metrics
from vlfusion_jax.train.setup import Run

DATA_VARIABLE = "VLFUSION_DATA"
TABLE, PLOT = "comparison.md", "comparison.png"
DEFAULT = [f"configs/families.py:{name}" for name, family in FAMILIES.items() if family in (baselines, plain)]
# Keys, and sections ending in a dot, that make a budget. What a run starts from may be what is compared.
SAME = ("seed", "sharding", "precision.", "data.", "tasks.", "optim.", "train.")


class Planned(NamedTuple):
    """One run of a comparison: what the user calls its config, its name in the table, the config, where it lives."""

    source: str
    name: str
    config: ConfigDict
    workdir: Path


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    flags.DEFINE_list(
        "configs",
        DEFAULT,
        "FILE.py[:ARG],…; change a key of all with --config.KEY=VALUE; default the baselines and our kinds",
        flag_values=values,
    )
    flags.DEFINE_string(
        "data", "", f"data.path of all: a folder, or the name of one in ${DATA_VARIABLE}", flag_values=values
    )
    flags.DEFINE_integer("steps", 0, "train.steps of all; 0 = as the configs have it", flag_values=values)
    flags.DEFINE_float(
        "reach", 0.0, "also say after which step each is so accurate, such as 0.95; 0 = leave out", flag_values=values
    )
    flags.DEFINE_string("out", "runs/compare", "folder of table, plot and work directories", flag_values=values)
    define_device_flags(values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Train what is not trained yet, then print, write and draw the comparison."""
    overrides = parse_but_overrides(values, arguments)
    if values.steps < 0:
        raise UserError(f"--steps is {values.steps}; it must be 0 or more.")
    if not 0 <= values.reach <= 1:
        raise UserError(f"--reach is {values.reach:g}; it is a share of right answers, from 0 to 1.")
    given = [f"--config.data.path={find_data(values.data)}"] if values.data else []
    given += [f"--config.train.steps={values.steps}"] if values.steps else []
    plan = _plan(values.configs, [*given, *overrides], Path(values.out))
    start_devices(values)

    data = plan[0].config.data
    splits = open_splits(data)
    jobs = []
    for planned in plan:
        with _naming(planned):
            jobs.append(prepare(planned.config, splits, planned.workdir))
    contenders = []
    for number, (planned, job) in enumerate(zip(plan, jobs, strict=True), 1):
        say(f"[{number}/{len(plan)}] {planned.name}, in {planned.workdir}")
        with _naming(planned):
            if not train_prepared(job, splits, planned.workdir).finished:
                sys.exit(STOPPED)
        contenders.append(_contender(planned, job))
    if jax.process_index() == 0:
        blind = blind_accuracy(*splits, data.eval_limit)["accuracy_blind"]
        command = shlex.join(["vlfusion", "compare", *arguments])
        _write(contenders, blind, _notes(jobs[0], len(splits.test), command), values.reach, Path(values.out))


def find_data(name: str) -> Path:
    """The folder that --data names.

    Raises:
      UserError: there is none.
    """
    places = [Path(name).expanduser()]
    if os.environ.get(DATA_VARIABLE) and len(places[0].parts) == 1:
        places.append(Path(os.environ[DATA_VARIABLE]).expanduser() / name)
    for place in places:
        if place.is_dir():
            return place
    tried = " nor ".join(f"'{place}'" for place in places)
    raise UserError(
        f"--data: {tried} is not a folder; give one, or set ${DATA_VARIABLE} to the folder that holds {name!r}."
    )


def _plan(sources: Sequence[str], overrides: list[str], out: Path) -> list[Planned]:
    """All runs, each checked by itself and against the first; nothing is written.

    Raises:
      UserError: naming the config that is wrong.
    """
    if not sources:
        raise UserError("--configs is empty; give FILE.py[:ARG],… or leave it out.")
    plan = []
    for source, name in zip(sources, _names(sources), strict=True):
        planned = Planned(source, name, ConfigDict(), out / name)
        with _naming(planned):
            planned = planned._replace(config=resolve(load_config(source), overrides))
            if not planned.config.tasks.vqa.weight:
                raise UserError("it answers no questions, which are what is compared: set tasks.vqa.weight above 0.")
            if plan:
                _check_same(planned.config, plan[0])
            check_workdir(planned.workdir, planned.config, load_stored)
        plan.append(planned)
    return plan


def _names(sources: Sequence[str]) -> list[str]:
    """A name for each config that can be a folder's: the argument or the file's stem, both where that is not enough."""
    parts = [(Path(path).stem, arg) for path, arg in map(split_arg, sources)]
    shortest = [arg or stem for stem, arg in parts]
    chosen = shortest if len(set(shortest)) == len(shortest) else [f"{stem}_{arg}".rstrip("_") for stem, arg in parts]
    chosen = [re.sub(r"[^\w.=-]", "_", name) for name in chosen]
    for name, source in zip(chosen, sources, strict=True):
        if chosen.count(name) > 1:
            raise UserError(f"--configs: {source} is there twice, or its name {name!r} is another's too.")
    return chosen


def _check_same(config: ConfigDict, first: Planned) -> None:
    there, here = flatten(first.config), flatten(config)
    sections = tuple(key for key in SAME if key.endswith("."))
    different = [key for key in here if (key in SAME or key.startswith(sections)) and here[key] != there[key]]
    if different:
        changes = ", ".join(f"{key} ({here[key]!r}, there {there[key]!r})" for key in different)
        raise UserError(
            f"not the budget of {first.source}; different: {changes}. Make them equal, such as for all with "
            f"--config.{different[0]}=VALUE."
        )


@contextlib.contextmanager
def _naming(planned: Planned) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{planned.source}: {error}") from error


def _contender(planned: Planned, job: Run) -> Contender:
    data, spec = job.config.data, job.model.spec
    return Contender(
        planned.name,
        sum(part_parameters(spec, tuple(task.name for task in job.tasks)).values()),
        row_flops(spec, data.question_length, names.VQA, texts_per_image=data.questions_per_image),
        data.questions_per_image,
        read_metrics(planned.workdir),
    )


def _notes(job: Run, images: int, command: str) -> str:
    """What was compared, in words, and the command."""
    config, devices = job.config, job.strategy.mesh.devices.flat
    data, optim = config.data, config.optim
    return (
        f"{config.train.steps} steps of {config.train.batch_size} images with {data.questions_per_image} questions "
        f"each, AdamW at {optim.lr:g} ({optim.schedule}, {optim.warmup_steps} steps of warm-up), seed {config.seed}; "
        f"accuracy on split '{data.eval_split}' ({min(data.eval_limit or images, images):,} images) of "
        f"{Path(data.path).name or data.source}; {len(devices)} × {devices[0].device_kind}, "
        f"{config.precision.compute}.\n"
        "An example is a question with its image. FLOPs: forward, padding and the question's share of the image "
        "included. Speed: median of training. Seconds: training, compilation included.\n\n"
        f"```sh\n{command}\n```"
    )


def _write(contenders: Sequence[Contender], question_only: float, notes: str, reach: float, out: Path) -> None:
    """Print the table; write table and plot, which take the places of older ones when both are whole."""
    table = comparison_table(contenders, question_only, reach)
    new_table, new_plot = out / f"{TABLE}.new", out / f"{PLOT}.new"
    try:
        new_table.write_text(f"{table}\n\n![{PLOT}]({PLOT})\n\n{notes}\n", encoding="utf-8")
        draw_comparison(contenders, question_only, new_plot, reach)
        new_table.replace(out / TABLE)
        new_plot.replace(out / PLOT)
    finally:
        new_table.unlink(missing_ok=True)
        new_plot.unlink(missing_ok=True)
    print(f"{table}\n\n{notes}\n\nwritten to {out / TABLE} and {out / PLOT}")
