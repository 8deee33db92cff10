"""`vlfusion train` started twice, for one run of two processes, learns what one process learns."""

import json

import numpy as np
import pytest

from tests.processes import finished, free_port, started

STEPS = 5


def command(data, workdir, sharding, devices, *flags):
    return (
        "-m", "vlfusion_jax.cli.main", "train", "--config=configs/tiny.py:cross_attention", f"--workdir={workdir}",
        f"--config.data.path={data}", f"--config.sharding={sharding}", f"--config.train.steps={STEPS}",
        f"--devices={devices}", *flags,
    )  # fmt: skip


def metrics(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["fsdp_tp:2", "fsdp"])
def test_two_processes_train_and_evaluate_as_one(tmp_path, tiny_data, sharding):
    join = [f"--coordinator_address=127.0.0.1:{free_port()}", "--num_processes=2"]
    two = [command(tiny_data, tmp_path / "two", sharding, 1, *join, f"--process_id={i}") for i in range(2)]
    with started(*two) as processes:
        printed = [finished(process) for process in processes]
    assert "accuracy_relational" in printed[0]
    assert "accuracy_relational" not in printed[1]
    with started(command(tiny_data, tmp_path / "one", sharding, 2)) as [one]:
        finished(one)
    ours, expected = metrics(tmp_path / "two"), metrics(tmp_path / "one")
    assert [line["step"] for line in expected] == [*range(1, STEPS + 1), STEPS]
    assert len({line["loss"] for line in expected[:-1]}) == STEPS
    for line, reference in zip(ours, expected, strict=True):
        assert line.keys() == reference.keys()
        for name in reference:
            if not name.startswith("time/"):
                np.testing.assert_allclose(line[name], reference[name], rtol=2e-6, atol=2e-6, err_msg=name)
    assert {path.name for path in (tmp_path / "two").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}
