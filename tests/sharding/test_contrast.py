"""Contrasts and hard pairs are those of the whole batch, over whatever devices it lies."""

from functools import cache

import jax
import numpy as np
import pytest

from vlfusion_jax.core.tree import flatten
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.train.setup import build

STEPS, BATCH = 6, 16
CASES = ("softmax", "sigmoid", "momentum", "hard")


@pytest.fixture(scope="module")
def train(albef_config, small_vocabulary, random_batch, random_state):
    """Function (case, sharding, devices) -> (metrics of every step, the last state by path)."""

    def config_of(case: str):
        tasks = {"itm": 1, "itc": 0.5} if case == "hard" else {"itc": 1}
        config = albef_config(
            tasks, train__batch_size=BATCH, eval__batch_size=BATCH, train__steps=STEPS, optim__lr=2e-3
        )
        if case == "sigmoid":
            config.model = hyperparameters(
                "siglip", "tiny", text_width=16, text_mlp_width=24, text_layers=1, image_width=16, image_mlp_width=24,
                image_layers=1, patch_size=8,
            )  # fmt: skip
            config.tasks.itc.loss = "sigmoid"
        if case == "momentum":
            config.tasks.itc.momentum, config.tasks.itc.queue = 0.8, 2 * BATCH
        if case == "hard":
            config.tasks.itm.negatives = "hard"
        return config

    @cache
    def make(case: str, sharding: str, devices: int):
        config = config_of(case)
        config.sharding = sharding
        run = build(config, small_vocabulary, jax.devices()[:devices])
        assert run.strategy.mesh.size == devices
        state, lines = random_state(run), []
        for step in range(STEPS):
            batch = {k: jax.device_put(v, run.batch_sharding) for k, v in random_batch(config, step % 4).items()}
            state, metrics = run.train_step(state, batch)
            lines.append({name: float(value) for name, value in metrics.items()})
        evaluated = {name: float(total) for name, (total, _) in run.eval_step(state.params, batch).items()}
        return lines, evaluated, flatten(jax.device_get(state))

    return make


@pytest.mark.parametrize("sharding", ["dp", pytest.param("fsdp", marks=pytest.mark.slow)])
@pytest.mark.parametrize("case", CASES)
def test_eight_devices_equal_one(train, case, sharding):
    expected, expected_sums, expected_state = train(case, "dp", 1)
    lines, sums, state = train(case, sharding, 8)
    assert {"itc_loss", "itc_accuracy"} <= set(lines[0])
    assert ("itm_accuracy" in lines[0]) == (case == "hard")
    for step, (ours, theirs) in enumerate(zip(lines, expected, strict=True)):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=2e-5, atol=2e-6, err_msg=f"{name} of step {step}")
    for name, value in expected_sums.items():
        np.testing.assert_allclose(sums[name], value, rtol=2e-5, err_msg=name)
    assert state.keys() == expected_state.keys()
    for path, leaf in expected_state.items():
        if "params" in path or "momentum" in path or "queue" in path:
            # A part of Adam's first steps is the sign of gradients that are next to nothing, such as of keys' biases.
            np.testing.assert_allclose(state[path], leaf, atol=2e-3 if "bias" in path else 1e-4, err_msg=path)
    if case == "momentum":
        np.testing.assert_array_equal(state["extras/queue/record"], expected_state["extras/queue/record"])
        assert int(state["extras/queue/position"]) == STEPS * BATCH % (2 * BATCH)
    assert abs(expected[-1]["loss"] - expected[0]["loss"]) > 1e-3
