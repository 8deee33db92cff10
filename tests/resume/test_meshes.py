"""A run that goes on with half the devices, twice, trains the losses of one that kept them all."""

import os
import signal

import jax
import numpy as np
import pytest

from vlfusion_jax.data.pipeline import train_batches
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.vocabulary import build_vocabulary
from vlfusion_jax.train.checkpoint import load_meta
from vlfusion_jax.train.loop import train
from vlfusion_jax.train.metrics import read_metrics
from vlfusion_jax.train.setup import build

STEPS = 12


def losses(workdir):
    return {line["step"]: line["loss"] for line in read_metrics(workdir) if "loss" in line}


@pytest.mark.parametrize("sharding", ["fsdp", pytest.param("fsdp_tp:2", marks=pytest.mark.slow)])
def test_eight_then_four_then_two_devices(tiny_config, tmp_path, sharding):
    changes = {"train.steps": STEPS, "sharding": sharding, "checkpoint.every": 0}
    config = tiny_config(**changes, **{"model.layers": 1, "tasks.itm.weight": 0.0, "tasks.mlm.weight": 0.0})
    source = open_source(config.data, config.data.train_split)
    vocabulary = build_vocabulary([source], config.data)

    runs = {devices: build(config, vocabulary, jax.devices()[:devices]) for devices in (8, 4, 2)}

    def run_on(devices, workdir, stop_after=None):
        def batches_from(start):
            batches = train_batches(config, source, vocabulary, start_step=start)
            for step, batch in enumerate(batches, start + 1):
                if step == stop_after:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

        return train(runs[devices], batches_from, workdir)

    kept = run_on(8, tmp_path / "kept")
    assert run_on(8, tmp_path / "shrunk", stop_after=4).step == 4
    assert load_meta(tmp_path / "shrunk")["strategy"]["name"] == sharding
    assert run_on(4, tmp_path / "shrunk", stop_after=8).step == 8
    shrunk = run_on(2, tmp_path / "shrunk")
    assert (shrunk.step, shrunk.finished) == (STEPS, True)
    assert len(shrunk.state.params["text"]["embedding"]["words"]["table"].devices()) == 2

    expected, found = losses(tmp_path / "kept"), losses(tmp_path / "shrunk")
    assert found.keys() == expected.keys() == set(range(1, STEPS + 1))
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=0, atol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(shrunk.state.params), jax.tree.leaves(kept.state.params), strict=True):
        np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), atol=2e-3)
