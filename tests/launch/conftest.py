"""A `vlfusion` on the PATH that is this checkout's, and a small run whose losses are known."""

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.launch.shell import program, run
from tests.processes import ROOT
from vlfusion_jax.config.load import load_config
from vlfusion_jax.data.source import open_source

STEPS, SAVE_EVERY = 12, 3


@pytest.fixture(scope="package")
def environment(tmp_path_factory) -> dict[str, str]:
    """That of a shell in which `vlfusion` is installed; no run's settings are in it."""
    folder = tmp_path_factory.mktemp("bin")
    program(folder / "vlfusion", f'exec {shlex.quote(sys.executable)} -m vlfusion_jax.cli.main "$@"')
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VLFUSION_", "SLURM_"))}
    return kept | {"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="package")
def train(tmp_path_factory) -> Callable[[Path], list[str]]:
    """Function work directory -> words after `vlfusion` that train configs/tiny.py there; its data exist."""
    config = load_config(str(ROOT / "configs/tiny.py"))
    config.data.path = str(tmp_path_factory.mktemp("data"))
    for split in (config.data.train_split, config.data.eval_split):
        open_source(config.data, split)

    def words(workdir: Path) -> list[str]:
        # One task: every process compiles its own program, and one after the other here.
        tasks = {"tasks.mlm.weight": 0.0, "tasks.itm.weight": 0.0}
        changed = {"data.path": config.data.path, "train.steps": STEPS, "checkpoint.every": SAVE_EVERY} | tasks
        changes = [f"--config.{key}={value}" for key, value in changed.items()]
        return ["train", "--config=configs/tiny.py", "--config.sharding=fsdp", f"--workdir={workdir}", *changes]

    return words


@pytest.fixture(scope="session")
def losses() -> Callable[[Path], dict[int, float]]:
    """Function work directory -> step -> loss, of a run that may be going on."""

    def read(workdir: Path) -> dict[int, float]:
        path = workdir / "metrics.jsonl"
        whole = path.read_text().rpartition("\n")[0].splitlines() if path.exists() else []
        return {line["step"]: line["loss"] for line in map(json.loads, whole) if "loss" in line}

    return read


@pytest.fixture(scope="package")
def expected(tmp_path_factory, environment, train, losses) -> dict[int, float]:
    """Losses of the run in one process with one device, by the script itself."""
    folder = tmp_path_factory.mktemp("alone")
    said = run(["launch/local.sh", *train(folder / "run"), "--devices=1"], folder / "log", environment)
    assert "VLFUSION_PLATFORM=cpu" in said
    found = losses(folder / "run")
    assert list(found) == [*range(1, STEPS + 1)]
    return found
