"""Scripts of launch/ run by tests, and programs that stand in for what is not on this machine."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.processes import ROOT


def program(path: Path, *lines: str) -> None:
    """Make `path` a shell script of these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["#!/usr/bin/env bash", *lines, ""]))
    path.chmod(0o755)


@contextlib.contextmanager
def running(command: Sequence[str], log: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    """`command` in a process group of its own, its output in `log`; what is left of the group at the end is killed."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(command: Sequence[str], log: Path, environment: dict[str, str]) -> str:
    """What `command` printed, once it has ended well."""
    with running(command, log, environment) as process:
        assert process.wait(600) == 0, log.read_text()
    return log.read_text()


def members(group: int) -> dict[int, int]:
    """Of the `vlfusion` processes of a process group, their ids in the system by their numbers in the run."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"vlfusion_jax.cli.main" in words and os.getpgid(int(folder.name)) == group:
                settings = dict(pair.split(b"=", 1) for pair in (folder / "environ").read_bytes().split(b"\0") if pair)
                found[int(settings.get(b"VLFUSION_PROCESS_ID", settings.get(b"SLURM_PROCID", 0)))] = int(folder.name)
    return found


def wait_until(condition, process: subprocess.Popen, log: Path) -> None:
    """Until `condition()` holds, while `process` goes on."""
    while not condition():
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
