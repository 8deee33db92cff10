"""Two processes on loopback: a signal at one stops both after the same step; one process alone can go on from there."""

import signal
from pathlib import Path

import numpy as np
import pytest

from tests.processes import finished, free_port, started
from vlfusion_jax.train.checkpoint import load_meta
from vlfusion_jax.train.metrics import read_metrics

SCRIPT = Path(__file__).resolve().parent / "one_host.py"


def end(process):
    return finished(process).splitlines()[-1]


def losses(workdir):
    return {line["step"]: line["loss"] for line in read_metrics(workdir)}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Losses of a run that nothing stopped, on one host."""
    workdir = tmp_path_factory.mktemp("alone")
    with started((SCRIPT, 0, 1, 0, workdir, 0.0)) as [host]:
        assert end(host) == "ended 60 True"
    return losses(workdir)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_one_of_two_hosts(alone, tmp_path, number):
    port = free_port()
    with started(*((SCRIPT, i, 2, port, tmp_path / "both", 0.1) for i in range(2))) as hosts:
        for line in hosts[0].stderr:
            if line.startswith("step 5/"):
                break
        hosts[1].send_signal(number)
        ends = [end(host) for host in hosts]
    stopped = load_meta(tmp_path / "both")
    assert ends == [f"ended {stopped['step']} False"] * 2
    assert 5 <= stopped["step"] < 60
    assert stopped["hosts"] == 2

    with started((SCRIPT, 0, 1, 0, tmp_path / "both", 0.0)) as [resumed]:
        assert end(resumed) == "ended 60 True"
    both = losses(tmp_path / "both")
    assert both.keys() == alone.keys() == set(range(1, 61))
    np.testing.assert_allclose(list(both.values()), list(alone.values()), rtol=1e-5)
