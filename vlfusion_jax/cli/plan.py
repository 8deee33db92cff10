"""vlfusion plan --config=FILE.py[:ARG] --topology=v5e:4x4 --strategies=dp,fsdp,… [--config.KEY=VALUE ...]

Before any machine is paid for: compiles the run's own training step for a TPU machine that is not here, once for each
strategy, with the machine's real compiler, and prints what fits, how fast it will go, and what waits for the network.
OUT holds the table as plan.json, and its picture as plan.png. The data of the run is not needed: the sizes of its
vocabulary and answer set come from data.tokenizer or data.vocab_size, and from --answers. Of a candidate that does not
fit, the largest batch of a device is looked for that does. What is compiled is kept in $VLFUSION_CACHE/plans.

--search begins with --strategies, by default with all, and goes on from the best: other batches, micro-batches and
settings of model.remat, as long as the examples a second grow.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict
from tqdm import tqdm

from vlfusion_jax.cli.arguments import define_config_flag, parse_over_config
from vlfusion_jax.cli.candidates import candidates, config_without_data, define_candidate_flags
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.folders import cache_folder
from vlfusion_jax.layers.stack import REMAT_POLICIES
from vlfusion_jax.plan.apart import compile_apart
from vlfusion_jax.plan.candidate import Candidate
from vlfusion_jax.plan.search import MICRO_BATCHES, REMAT, Compile, largest_batch, search
from vlfusion_jax.plan.table import Row, by_speed, draw, format_rows, format_traffic, to_dict
from vlfusion_jax.plan.topology import device_count, topology_name

# What a search begins with, where no strategies are named; and hybrid, of as many groups as there are slices.
_ALL = ("dp", "zero1", "fsdp", "fsdp_tp:2", "fsdp_tp:4", "fsdp_tp:8", "tp_sp:2", "tp_sp:4", "tp_sp:8")


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    define_config_flag(values)
    flags.DEFINE_string("topology", "", "machine: v5e:4x4, v5p:4x4x4, v5e-256, h100:8, …", flag_values=values)
    flags.DEFINE_integer("num_slices", 1, "TPU slices of that topology", lower_bound=1, flag_values=values)
    define_candidate_flags(values)
    flags.DEFINE_bool("search", False, "look for better batches, remat and micro-batches too", flag_values=values)
    flags.DEFINE_integer("most", 30, "with --search, candidates to compile", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("minutes", 30, "most time to compile one candidate", lower_bound=1, flag_values=values)
    flags.DEFINE_string("out", "", "where plan.json and plan.png go; default runs/plan", flag_values=values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Compile every candidate and print the table."""
    config = parse_over_config(values, arguments, lambda: config_without_data(values.config))
    if not values.topology:
        raise UserError("--topology is missing: the machine to plan for, such as v5e:4x4.")
    devices = device_count(topology_name(values.topology, values.num_slices)) * values.num_slices
    if values.search and not values["strategies"].present:
        every = [*_ALL, f"hybrid:{max(2, values.num_slices)}"]
        values.strategies = [name for name in every if devices % int(name.partition(":")[2] or 1) == 0]
    named = candidates(values, values.topology, values.num_slices)
    each_device = values.batch_per_device or max(1, config.train.batch_size // devices)
    if values.search:
        rows = _searched(config, [replace(each, batch_per_device=each_device) for each in named], values)
    else:
        rows = _compiled(config, named, each_device, values)
    out = Path(values.out or "runs/plan")
    out.mkdir(parents=True, exist_ok=True)
    (out / "plan.json").write_text(json.dumps(to_dict(rows), indent=2), encoding="utf-8")
    print(format_rows(rows))
    print(format_traffic(rows))
    (out / "plan.png").unlink(missing_ok=True)  # of an earlier plan
    if any(row.estimate for row in rows):
        draw(rows).savefig(out / "plan.png", dpi=120)
    print(f"written to {out}")
    if not any(row.estimate for row in rows):
        raise UserError("no candidate compiled.")


def _searched(config: ConfigDict, first: list[Candidate], values: flags.FlagValues) -> list[Row]:
    given = {REMAT: config.model.remat, MICRO_BATCHES: config.train.micro_batches}
    first = [replace(each, changes=given | each.changes) for each in first]
    with _compiler(config, values, values.most) as compile_:
        return search(first, ["none", *REMAT_POLICIES], compile_, values.most)


def _compiled(config: ConfigDict, named: list[Candidate], each_device: int, values: flags.FlagValues) -> list[Row]:
    """The candidates; of those that do not fit, the batch that does."""
    with _compiler(config, values, len(named)) as compile_:
        rows = by_speed([compile_(each) for each in named])
        too_large = [row for row in rows if not row.fits and row.share is not None]
        batches = {
            row.candidate.label: largest_batch(
                replace(row, candidate=replace(row.candidate, batch_per_device=each_device)),
                compile_,
                config.train.micro_batches,
            )
            for row in too_large
        }
    return [replace(row, largest_batch=batches.get(row.candidate.label)) for row in rows]


@contextmanager
def _compiler(config: ConfigDict, values: flags.FlagValues, expected: int) -> Iterator[Compile]:
    """A function from a candidate to its row, which shows how far it is."""
    with tqdm(total=expected, desc="compiling", disable=not sys.stderr.isatty()) as bar:

        def compile_(candidate: Candidate) -> Row:
            bar.set_postfix_str(candidate.label)
            row = compile_apart(config, candidate, 60 * values.minutes, cache_folder() / "plans")
            bar.update()
            return row

        yield compile_
