"""local.sh: four processes learn what one learns; one is killed, it is named, the others end, and the run goes on."""

import os
import re
import signal
import time

import numpy as np
import pytest

from tests.launch.shell import members, program, run, running, wait_until
from vlfusion_jax.train.checkpoint_folders import has_checkpoint

PROCESSES = 4


@pytest.mark.parametrize("victim", [2, *(pytest.param(number, marks=pytest.mark.slow) for number in (0, 1, 3))])
def test_one_of_four_is_killed(tmp_path, environment, train, losses, expected, victim):
    workdir, log = tmp_path / "run", tmp_path / "log"
    command = ["launch/local.sh", f"--processes={PROCESSES}", *train(workdir)]
    with running(command, log, environment) as script:
        wait_until(lambda: has_checkpoint(workdir), script, log)
        processes = members(script.pid)
        assert sorted(processes) == [*range(PROCESSES)]
        os.kill(processes[victim], signal.SIGKILL)
        start = time.monotonic()
        status = script.wait(120)
        seconds = time.monotonic() - start
        assert members(script.pid) == {}
    said = log.read_text()
    assert status == 128 + signal.SIGKILL
    assert seconds < 60, said
    assert f"process {victim} of {PROCESSES} is lost, killed by SIGKILL" in said
    for number in {*range(PROCESSES)} - {victim}:
        assert f"process {number} of {PROCESSES}, by environment" in said
        assert f"process {number} of {PROCESSES} is lost, killed by SIGKILL" not in said
    # What jax says wherever there is no local.sh to see it.
    assert re.search("leader task was preempted/died" if victim == 0 else rf"\b[Tt]ask[ :]{victim}\b", said)

    before = max(losses(workdir))
    assert before < max(expected)
    # By one process: how four begin is shown above.
    said = run(["launch/local.sh", *command[2:]], tmp_path / "again", environment)
    assert "resuming after step" in said
    found = losses(workdir)
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([*found.values()], [*expected.values()], rtol=1e-5)


def test_processes_that_die_at_once_are_all_seen(tmp_path, environment):
    """As those do that notice the death of another one."""
    program(tmp_path / "bin" / "vlfusion", "sleep 0.05; kill -ABRT $$")
    settings = environment | {"PATH": f"{tmp_path / 'bin'}:{environment['PATH']}"}
    for _ in range(6):
        with running(["launch/local.sh", "--processes=12", "train"], tmp_path / "log", settings) as script:
            assert script.wait(30) == 128 + signal.SIGABRT
        said = (tmp_path / "log").read_text()
        assert said.count("of 12 is lost, killed by SIGABRT") == 1
        assert "no such job" not in said


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        (["--processes=0"], {}, "--processes=0 is not a number of processes"),
        ([], {"VLFUSION_NUM_PROCESSES": "two"}, "--processes=two is not a number of processes"),
        ([], {"VLFUSION_PLATFORM": "rocm"}, "VLFUSION_PLATFORM is rocm, not cpu, gpu or tpu"),
        (
            ["--processes=3"],
            {"VLFUSION_PLATFORM": "gpu", "CUDA_VISIBLE_DEVICES": "2,5"},
            "CUDA_VISIBLE_DEVICES=2,5 has fewer GPUs than --processes=3",
        ),
        (
            ["--processes=2"],
            {"VLFUSION_PLATFORM": "gpu", "CUDA_VISIBLE_DEVICES": ""},
            "CUDA_VISIBLE_DEVICES= has fewer GPUs than --processes=2",
        ),
    ],
)
def test_mistakes(tmp_path, environment, words, settings, message):
    log = tmp_path / "log"
    with running(["launch/local.sh", *words, "train"], log, environment | settings) as script:
        assert script.wait(60) == 2
    assert message in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("named", "expected"), [(None, {"0", "1"}), ("4,6,7", {"4", "6"}), ("GPU-a,GPU-b", {"GPU-a", "GPU-b"})]
)
def test_each_process_has_a_gpu_of_those_named(tmp_path, environment, named, expected):
    program(tmp_path / "bin" / "vlfusion", f'echo "$CUDA_VISIBLE_DEVICES" >"{tmp_path}/gpu-$VLFUSION_PROCESS_ID"')
    settings = {"VLFUSION_PLATFORM": "gpu", "PATH": f"{tmp_path / 'bin'}:{environment['PATH']}"}
    settings |= {"CUDA_VISIBLE_DEVICES": named} if named else {}
    environment = {name: value for name, value in environment.items() if name != "CUDA_VISIBLE_DEVICES"} | settings
    run(["launch/local.sh", "--processes=2", "train"], tmp_path / "log", environment)
    assert {file.read_text().strip() for file in tmp_path.glob("gpu-*")} == expected
