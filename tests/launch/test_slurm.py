"""slurm.sbatch with two tasks of a stand-in for SLURM: it trains, is preempted, goes back into the queue, and ends."""

import os
import random
import signal

import numpy as np
import pytest

from tests.launch.shell import members, program, running, wait_until
from tests.processes import ROOT

# As srun does it: options first, one process for each task, signals passed on, the highest status handed back.
SRUN = """
while [[ $1 == --* ]]; do shift; done
for task in 0 1; do
  SLURM_PROCID=$task SLURM_LOCALID=$task SLURM_STEP_NODELIST=localhost "$@" &
  tasks[task]=$!
done
trap 'kill -TERM "${tasks[@]}"' TERM
highest=0
for task in "${tasks[@]}"; do
  while true; do
    wait "$task"; status=$?
    kill -0 "$task" 2>/dev/null || break
  done
  ((status <= highest)) || highest=$status
done
exit "$highest"
"""


@pytest.fixture
def slurm(tmp_path, environment):
    """The environment of a batch script, with the commands that it calls."""
    program(tmp_path / "bin" / "srun", f'echo "srun $*" >> {tmp_path}/called', SRUN)
    program(tmp_path / "bin" / "scontrol", f'echo "scontrol $*" >> {tmp_path}/called')
    settings = {
        "PATH": f"{tmp_path / 'bin'}:{environment['PATH']}", "SLURM_JOB_ID": str(random.randint(1, 10**6)),
        "SLURM_NTASKS": "2", "SLURM_SUBMIT_DIR": str(ROOT), "VLFUSION_PLATFORM": "cpu",
    }  # fmt: skip
    return environment | settings


def test_two_tasks(tmp_path, slurm, train, losses, expected):
    workdir, log = tmp_path / "run", tmp_path / "log"
    command = ["bash", str(ROOT / "launch/slurm.sbatch"), *train(workdir)]
    with running(command, log, slurm) as script:
        wait_until(lambda: max(losses(workdir), default=0) > 4, script, log)
        assert sorted(members(script.pid)) == [0, 1]
        # What `--signal=TERM@180` sends to every task.
        for process in members(script.pid).values():
            os.kill(process, signal.SIGTERM)
        assert script.wait(120) == 75, log.read_text()
    said = log.read_text()
    for task in range(2):
        assert f"process {task} of 2, by the cluster's environment" in said
    stopped = max(losses(workdir))
    assert f"stopped by a signal after step {stopped} of {max(expected)}, saved" in said
    called = (tmp_path / "called").read_text().splitlines()
    assert [call.split()[0] for call in called] == ["srun", "scontrol"]
    assert called[1] == f"scontrol requeue {slurm['SLURM_JOB_ID']}"

    with running(command, tmp_path / "again", slurm) as script:
        assert script.wait(600) == 0, (tmp_path / "again").read_text()
    assert f"resuming after step {stopped}" in (tmp_path / "again").read_text()
    assert (tmp_path / "called").read_text().count("scontrol") == 1
    found = losses(workdir)
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([*found.values()], [*expected.values()], rtol=1e-5)
