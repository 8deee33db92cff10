"""vlfusion plan --config=FILE.py[:ARG] --topology=v5e:4x4 --strategies=dp,fsdp,… [--config.KEY=VALUE ...]

Before any machine is paid for: compiles the run's own training step for a TPU machine that is not here, once for each
strategy, with the machine's real compiler, and prints what fits, how fast it will go, and what waits for the network.
OUT holds the table as plan.json, and its picture as plan.png. The data of the run is not needed: the sizes of its
vocabulary and answer set come from data.tokenizer or data.vocab_size, and from --answers.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict
from tqdm import tqdm

from vlfusion_jax.cli.arguments import define_config_flag, parse_over_config
from vlfusion_jax.cli.candidates import candidates, config_without_data, define_candidate_flags
from vlfusion_jax.config.dump import dump_plain
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.plan.candidate import Candidate
from vlfusion_jax.plan.estimate import Estimate, Traffic
from vlfusion_jax.plan.table import Row, by_speed, draw, format_rows, format_traffic, to_dict
from vlfusion_jax.plan.topology import topology_name


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    define_config_flag(values)
    flags.DEFINE_string("topology", "", "machine: v5e:4x4, v5p:4x4x4, v5e-256, …", flag_values=values)
    flags.DEFINE_integer("num_slices", 1, "TPU slices of that topology", lower_bound=1, flag_values=values)
    define_candidate_flags(values)
    flags.DEFINE_integer("minutes", 30, "most time to compile one candidate", lower_bound=1, flag_values=values)
    flags.DEFINE_string("out", "", "where plan.json and plan.png go; default runs/plan", flag_values=values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Compile every candidate and print the table."""
    config = parse_over_config(values, arguments, lambda: config_without_data(values.config))
    if not values.topology:
        raise UserError("--topology is missing: the machine to plan for, such as v5e:4x4.")
    topology_name(values.topology, values.num_slices)
    rows = by_speed(
        [
            compile_apart(config, each, 60 * values.minutes)
            for each in tqdm(
                candidates(values, values.topology, values.num_slices),
                desc="compiling",
                disable=not sys.stderr.isatty(),
            )
        ]
    )
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


def compile_apart(config: ConfigDict, candidate: Candidate, seconds: float) -> Row:
    """The row of a candidate, compiled in a process of its own, which ends after so many seconds."""
    job = {"config": dump_plain(config), "candidate": vars(candidate)}
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        words = [sys.executable, "-m", "vlfusion_jax.plan.worker", str(out)]
        try:
            done = subprocess.run(
                words,
                input=json.dumps(job),
                text=True,
                capture_output=True,
                timeout=seconds,
                env=environment,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Row(candidate, None, f"not compiled after {seconds / 60:.0f} minutes", time.perf_counter() - start)
        if not out.is_file():
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            return Row(candidate, None, f"its compiler ended with status {done.returncode}: {last:.300}",
                       time.perf_counter() - start)  # fmt: skip
        result = json.loads(out.read_text(encoding="utf-8"))
    return Row(candidate, _estimate(result["estimate"]), result["problem"], result["compile_seconds"])


def _estimate(stored: dict | None) -> Estimate | None:
    if stored is None:
        return None
    traffic = tuple(Traffic(**each | {"axes": tuple(each["axes"])}) for each in stored["traffic"])
    return Estimate(**stored | {"traffic": traffic, "unpriced": tuple(stored["unpriced"])})
