"""Two processes on loopback see the rows of one process, in the same order."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.processes import finished, free_port, started
from vlfusion_jax.parallel.distributed import ENVIRONMENT

SCRIPT = Path(__file__).resolve().parent / "one_host.py"


def result(folder, process):
    finished(process)
    found = json.loads((folder / "result.json").read_text())
    assert found["devices"] == 2
    with np.load(folder / "rows.npz") as rows:
        found["rows"] = {tuple(key.split("|")): rows[key] for key in rows.files}
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory, tiny_data):
    """What one process with two devices got, and what two with one each got, joined by flags and by environment."""
    folder = tmp_path_factory.mktemp("processes")
    port = free_port()
    environment = dict(zip(ENVIRONMENT, (f"127.0.0.1:{port}", "2", "1"), strict=True))
    with (
        started((SCRIPT, tiny_data, folder / "first", 1, port, 0)) as [first],
        started((SCRIPT, tiny_data, folder / "second", 1), **environment) as [second],
    ):
        both = [result(folder / "first", first), result(folder / "second", second)]
    with started((SCRIPT, tiny_data, folder / "alone", 2)) as [alone]:
        return result(folder / "alone", alone), both


def test_they_joined_as_asked(results):
    alone, both = results
    assert alone["said"] == "one process"
    assert [host["said"] for host in both] == ["process 0 of 2, by flags", "process 1 of 2, by environment"]
    assert [host["process"] for host in both] == [0, 1]


@pytest.mark.parametrize(("strategy", "parts"), [("fsdp", 2), ("fsdp_tp:2", 1)])
def test_rows_are_the_same_in_the_same_order(results, strategy, parts):
    # Under fsdp each process has half of the rows; the two ends of a tensor axis need the same ones.
    alone, both = results
    whole = {key: rows for key, rows in alone["rows"].items() if key[0] == strategy}
    assert len(whole) == 3 * 17
    for (*name, first, size), expected in whole.items():
        assert (first, size) == ("0", str(len(expected)))
        for number, host in enumerate(both):
            start = number * (len(expected) // parts) if parts > 1 else 0
            held = host["rows"][*name, str(start), size]
            np.testing.assert_array_equal(held, expected[start : start + len(expected) // parts], err_msg=str(name))
