"""Every process makes the same program of a run: hosts must agree on it, and what is compiled is kept by its text."""

from tests.processes import finished, started

SEEDS = ("1", "2", "3", "4")  # of the hashes that sets are ordered by


def test_processes_agree_on_the_program():
    said = set()
    for first, second in (SEEDS[:2], SEEDS[2:]):
        with (
            started(["-m", "tests.train.one_program"], PYTHONHASHSEED=first) as [one],
            started(["-m", "tests.train.one_program"], PYTHONHASHSEED=second) as [other],
        ):
            said |= {finished(one), finished(other)}
    [programs] = said
    assert [line.split()[0] for line in programs.splitlines()] == ["single_stream", "two_stream"]
