"""What is refused before any process is joined, and that a lone process needs nothing."""

import os

import pytest

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.parallel.distributed import ENVIRONMENT, PATIENCE, initialize


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in (*ENVIRONMENT, PATIENCE):
        monkeypatch.delenv(name, raising=False)


def test_one_process():
    before = dict(os.environ)
    assert initialize() == "one process"
    assert dict(os.environ) == before  # its threads are its own


@pytest.mark.parametrize(
    "given",
    [("127.0.0.1:1", 0, -1), ("127.0.0.1:1", 2, -1), ("", 2, 0), ("", 0, 1), ("127.0.0.1:1", 0, 0)],
)
def test_incomplete_flags(given):
    with pytest.raises(UserError, match=r"from flags is incomplete.*--coordinator_address, --num_processes"):
        initialize(*given)


@pytest.mark.parametrize("missing", range(3))
def test_incomplete_environment(monkeypatch, missing):
    for number, (name, value) in enumerate(zip(ENVIRONMENT, ("127.0.0.1:1", "2", "0"), strict=True)):
        if number != missing:
            monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=rf"from environment is incomplete.*{ENVIRONMENT[missing]}"):
        initialize()


@pytest.mark.parametrize(("processes", "process"), [("2", "2"), ("two", "0"), ("2", "first"), ("2", "-1")])
def test_numbers_that_make_no_sense(monkeypatch, processes, process):
    for name, value in zip(ENVIRONMENT, ("127.0.0.1:1", processes, process), strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=rf"from environment: process {process} of {processes}"):
        initialize()


@pytest.mark.parametrize("seconds", ["0", "-5", "1.5", "soon"])
def test_a_time_to_wait_that_makes_no_sense(monkeypatch, seconds):
    monkeypatch.setenv(PATIENCE, seconds)
    with pytest.raises(UserError, match=rf"{PATIENCE} is '{seconds}'; it is a whole number of seconds"):
        initialize()
