"""Python processes started by tests: from the root of the repository, ended well or killed."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@contextmanager
def started(*commands: Sequence, **environment: str) -> Iterator[list[subprocess.Popen]]:
    """Python with each of `commands` as arguments, at once; what still runs at the end is killed."""
    processes = []
    try:
        for command in commands:
            processes.append(
                subprocess.Popen(
                    [sys.executable, *map(str, command)], cwd=ROOT,
                    env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                )
            )  # fmt: skip
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def finished(process: subprocess.Popen) -> str:
    """What it printed to stdout, once it has ended well."""
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return output


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
