"""A run killed at any moment and started again ends bit for bit where the uninterrupted one does.

`pytest -m slow tests/resume/test_kill.py` kills at ten more random moments, and terminates at five.
"""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from vlfusion_jax.cli.training import STOPPED
from vlfusion_jax.config.keys import flatten as flatten_config
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.data.vocabulary import Vocabulary
from vlfusion_jax.train.checkpoint import Checkpointer, load_meta
from vlfusion_jax.train.metrics import TIME, read_metrics
from vlfusion_jax.train.setup import build

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS, SAVE_EVERY = 40, 7


@pytest.fixture(scope="module")
def config(tiny_config):
    return tiny_config(**{"train.steps": STEPS, "train.eval_every": 15, "checkpoint.every": SAVE_EVERY})


def start(config, workdir):
    changed = ("data.source", "data.path", "model.dropout", "train.steps", "train.eval_every", "checkpoint.every")
    values = flatten_config(config)
    flags = [f"--config.{key}={values[key]}" for key in changed]
    command = [sys.executable, "-m", "vlfusion_jax.cli.main", "train", "--config=configs/tiny.py", "--devices=1"]
    return subprocess.Popen(
        [*command, f"--workdir={workdir}", *flags],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(config, workdir):
    process = start(config, workdir)
    _, output = process.communicate(timeout=180)
    assert process.returncode == 0, output
    return output


def interrupt(config, workdir, number, after_step, delay=0.0):
    """Sends a signal once a step at or after `after_step` is reported; returns exit status and output."""
    process = start(config, workdir)
    output = []
    for line in process.stderr:
        output.append(line)
        if line.startswith("step ") and int(line.split()[1].split("/")[0]) >= after_step:
            break
    time.sleep(delay)
    process.send_signal(number)
    output.append(process.communicate(timeout=180)[1])
    return process.returncode, "".join(output)


def final(config, workdir):
    """Every array of the last state, and the metrics, timing aside."""
    run = build(config, Vocabulary.from_dict(load_meta(workdir)["vocabulary"]), jax.devices()[:1])
    checkpoints = Checkpointer(workdir, config.checkpoint)
    restored = checkpoints.restore(run.abstract_state)
    checkpoints.close()
    assert restored.step == STEPS
    lines = [{k: v for k, v in line.items() if not k.startswith(TIME)} for line in read_metrics(workdir)]
    return {name: np.asarray(leaf) for name, leaf in flatten(restored.state).items()}, lines


@pytest.fixture(scope="module")
def uninterrupted(config, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("uninterrupted")
    finish(config, workdir)
    state, lines = final(config, workdir)
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, STEPS + 1))
    assert [line["step"] for line in lines if "eval/accuracy" in line] == [15, 30, 40]
    return state, lines


def assert_same(found, expected):
    assert found[0].keys() == expected[0].keys()
    for name, array in expected[0].items():
        np.testing.assert_array_equal(found[0][name], array, err_msg=name)
    assert found[1] == expected[1]


def test_killed_then_terminated_then_finished(config, uninterrupted, tmp_path):
    rng = random.Random(0)
    status, _ = interrupt(config, tmp_path, signal.SIGKILL, rng.randint(16, 20))
    assert status == -signal.SIGKILL
    killed_at = load_meta(tmp_path)["step"]
    assert killed_at in range(7, STEPS, 7)
    status, output = interrupt(config, tmp_path, signal.SIGTERM, rng.randint(24, 30))
    assert f"resuming after step {killed_at}" in output
    assert status == STOPPED, output
    stopped_at = load_meta(tmp_path)["step"]
    assert 24 <= stopped_at < STEPS
    assert f"stopped by a signal after step {stopped_at} of {STEPS}" in output
    assert f"resuming after step {stopped_at}" in finish(config, tmp_path)
    assert_same(final(config, tmp_path), uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL] * 10 + [signal.SIGTERM] * 5)
def test_interrupted_at_a_random_moment(config, uninterrupted, tmp_path, number):
    after_step, delay = random.randint(1, STEPS - 5), random.random() * 0.1
    print(f"{number.name} {delay:.3f} s after step {after_step}")
    status, output = interrupt(config, tmp_path, number, after_step, delay)
    # The last step may be done before the signal is seen.
    assert status in ([-signal.SIGKILL] if number == signal.SIGKILL else [STOPPED, 0]), output
    finish(config, tmp_path)
    assert_same(final(config, tmp_path), uninterrupted)
