"""Every process makes the same program of a run: hosts must agree on it, and what is compiled is kept by its text."""

from tests.processes import finished, started

SEEDS = ("1", "2")  # of the hashes that order sets: these order the names of a text and of its mask differently


def test_processes_agree_on_the_program():
    with (
        started(["-m", "tests.train.one_program"], PYTHONHASHSEED=SEEDS[0]) as [one],
        started(["-m", "tests.train.one_program"], PYTHONHASHSEED=SEEDS[1]) as [other],
    ):
        programs = finished(one)
        assert finished(other) == programs
    assert [line.split()[0] for line in programs.splitlines()] == ["single_stream", "two_stream"]
