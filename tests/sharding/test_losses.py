"""Eight devices train to the losses of one, however parameters and batch are laid out."""

from functools import cache

import jax
import numpy as np
import pytest

from vlfusion_jax.train.setup import build

STEPS = 20
TASKS = {"single_stream": ("mlm", "itm", "vqa"), "two_stream": ("itm", "vqa"), "cross_attention": ("vqa",)}
STRATEGIES = ("dp", "fsdp", "fsdp_tp", "tp_sp:4", "hybrid", "zero1")
CASES = [("single_stream", sharding) for sharding in STRATEGIES]
CASES += [("two_stream", "tp_sp:4")]
SLOW = [("two_stream", name) for name in STRATEGIES if name != "tp_sp:4"] + [("cross_attention", "fsdp_tp")]
CASES += [pytest.param(*case, marks=pytest.mark.slow) for case in SLOW]


@pytest.fixture(scope="module")
def curves(small_config, small_vocabulary, random_batch, random_state):
    """Function (kind, sharding, devices) -> metrics of every step: {name: [steps]}."""

    @cache
    def train(kind: str, sharding: str, devices: int) -> dict[str, np.ndarray]:
        weights = {f"tasks__{task}__weight": float(task in TASKS[kind]) for task in ("mlm", "itm", "vqa")}
        tokens = "conv" if kind == "cross_attention" else "patch"
        config = small_config(
            model__family=kind, model__width=32, model__heads=4, model__image_tokens=tokens, sharding=sharding,
            train__steps=STEPS, optim__lr=3e-3, **weights,
        )  # fmt: skip
        run = build(config, small_vocabulary, jax.devices()[:devices])
        assert run.strategy.mesh.size == devices
        state, lines = random_state(run), []
        for step in range(STEPS):
            batch = {k: jax.device_put(v, run.batch_sharding) for k, v in random_batch(config, step % 4).items()}
            state, metrics = run.train_step(state, batch)
            lines.append({name: float(value) for name, value in metrics.items()})
        return {name: np.array([line[name] for line in lines]) for name in lines[0]}

    return train


@pytest.mark.parametrize(("kind", "sharding"), CASES)
def test_eight_devices_equal_one(curves, kind, sharding):
    expected, ours = curves(kind, "dp", 1), curves(kind, sharding, 8)
    losses = [name for name in expected if name.endswith("loss")]
    assert set(losses) == {"loss"} | {f"{task}_loss" for task in TASKS[kind]}
    assert expected["loss"][-4:].mean() < expected["loss"][:4].mean() - 0.1
    for name in losses:
        np.testing.assert_allclose(ours[name], expected[name], atol=1e-5, rtol=0, err_msg=name)
