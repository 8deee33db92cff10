"""Starting processes that meet on loopback."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vlfusion_jax.config.load import load_config
from vlfusion_jax.data.source import open_source

ROOT = Path(__file__).resolve().parents[2]


def start(*arguments, **environment):
    """Python with `arguments`, from the root of the repository."""
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finished(process):
    """What it printed, once it has ended well."""
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="package")
def tiny_data(tmp_path_factory):
    """Folder with the data of configs/tiny.py, built before several processes read it."""
    config = load_config(str(ROOT / "configs/tiny.py"))
    config.data.path = str(tmp_path_factory.mktemp("data"))
    for split in (config.data.train_split, config.data.eval_split):
        open_source(config.data, split)
    return config.data.path
