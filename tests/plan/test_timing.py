"""Programs in turns, and both sides of the benchmark doing the same."""

import numpy as np
import pytest

from vlfusion_jax.cli.main import main
from vlfusion_jax.plan.timing import interleave


def test_every_program_runs_twice_a_round():
    calls = []
    programs = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    times = interleave(programs, rounds=3)
    assert calls == ["a", "a", "b", "b"] * 3
    for time in times.values():
        assert 0 <= time.low <= time.median <= time.high


def test_the_quartiles_are_those_of_the_calls_counted(monkeypatch):
    starts_and_ends = np.cumsum([0, 1, 90, 3, 90, 2, 90, 5, 90, 4]).tolist()
    clock = iter(starts_and_ends)
    monkeypatch.setattr("vlfusion_jax.plan.timing.time.perf_counter", lambda: next(clock))
    assert interleave({"a": lambda: None}, rounds=5)["a"] == (3, 2, 4)


def test_the_command_prints_both_tables(capsys):
    assert main(["bench", "--against=torch", "--batch=1", "--image=64", "--layers=1", "--rounds=1"]) == 0
    out = capsys.readouterr().out
    assert out.count("eager") == 2
    assert out.count("1.00 x") >= 2


@pytest.mark.parametrize("flag", ["--against=tensorflow", "--rounds=0"])
def test_what_cannot_be_measured_is_refused(capsys, flag):
    assert main(["bench", flag]) == 2
    assert "Traceback" not in capsys.readouterr().err
