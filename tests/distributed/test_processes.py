"""Two processes on loopback see the rows of one process, in the same order, and train the same losses."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vlfusion_jax.config.load import load_config
from vlfusion_jax.data.source import open_source
from vlfusion_jax.parallel.distributed import ENVIRONMENT

SCRIPT = Path(__file__).resolve().parent / "one_host.py"


def start(folder, name, devices, *flags, **environment):
    arguments = [sys.executable, str(SCRIPT), *map(str, (folder / "data", folder / name, devices, *flags))]
    env = os.environ | {"PYTHONPATH": str(SCRIPT.parents[2])} | environment
    return subprocess.Popen(arguments, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def result(folder, name, process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    found = json.loads((folder / name / "result.json").read_text())
    assert found["devices"] == 2
    with np.load(folder / name / "rows.npz") as rows:
        found["rows"] = {tuple(key.split("|")): rows[key] for key in rows.files}
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What one process with two devices did, and what two with one each did, joined by flags and by environment."""
    folder = tmp_path_factory.mktemp("processes")
    config = load_config("configs/tiny.py")
    config.data.path = str(folder / "data")
    open_source(config.data, "train")  # built once, before anyone reads it
    alone = result(folder, "alone", start(folder, "alone", 2))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = dict(zip(ENVIRONMENT, (f"127.0.0.1:{port}", "2", "1"), strict=True))
    both = [
        start(folder, "first", 1, port, 0),
        start(folder, "second", 1, **environment),
    ]
    return alone, [result(folder, name, process) for name, process in zip(("first", "second"), both, strict=True)]


def test_they_joined_as_asked(results):
    alone, both = results
    assert alone["said"] == "one process"
    assert [host["said"] for host in both] == ["process 0 of 2, by flags", "process 1 of 2, by environment"]
    assert [host["process"] for host in both] == [0, 1]


def test_rows_are_the_same_in_the_same_order(results):
    alone, both = results
    assert len(alone["rows"]) == 6 * 12
    for (step, *name, first), expected in alone["rows"].items():
        assert first == "0"
        key = (step, *name)
        halves = [host["rows"][*key, str(i * len(expected) // 2)] for i, host in enumerate(both)]
        np.testing.assert_array_equal(np.concatenate(halves), expected, err_msg="/".join(key))


def test_losses_are_the_same(results):
    alone, both = results
    assert both[0]["metrics"] == both[1]["metrics"]
    for ours, expected in zip(both[0]["metrics"], alone["metrics"], strict=True):
        assert ours.keys() == expected.keys()
        for name in ("loss", "vqa_loss", "itm_loss"):
            np.testing.assert_allclose(ours[name], expected[name], atol=1e-6, rtol=0, err_msg=name)
    losses = [line["loss"] for line in alone["metrics"]]
    assert len(set(losses)) == len(losses)
