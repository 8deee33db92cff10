"""Eight devices train to the losses of one, however parameters and batch are laid out."""

from functools import cache

import jax
import numpy as np
import pytest

from vlfusion_jax.train.setup import build

STEPS = 20
TASKS = {"single_stream": ("mlm", "itm", "vqa", "context"), "two_stream": ("itm", "vqa"), "cross_attention": ("vqa",)}
STRATEGIES = ("dp", "fsdp", "fsdp_tp", "tp_sp:4", "hybrid", "zero1")
CASES = [("single_stream", sharding) for sharding in STRATEGIES]
CASES += [("two_stream", "towers")]
SLOW = [("two_stream", name) for name in STRATEGIES] + [("cross_attention", "fsdp_tp")]
CASES += [pytest.param(*case, marks=pytest.mark.slow) for case in SLOW]


# The image's tower as fsdp has it, all else as fsdp_tp.
TOWERS = """
from configs.shardings.fsdp_tp import get_strategy as fsdp_tp

def get_strategy(arg=""):
    whole = {"heads": None, "mlp": None, "mlp_bias": "fsdp"}
    return fsdp_tp("2") | {"parts": {"image_layers": whole}}
"""


@pytest.fixture(scope="module")
def strategy_of(tmp_path_factory):
    """Function: name of a case -> what `config.sharding` is set to."""
    file = tmp_path_factory.mktemp("shardings") / "towers.py"
    file.write_text(TOWERS, encoding="utf-8")
    return lambda name: str(file) if name == "towers" else name


@pytest.fixture(scope="module")
def curves(strategy_of, small_config, small_vocabulary, random_batch, random_state):
    """Function (kind, sharding, devices) -> metrics of every step: {name: [steps]}."""

    @cache
    def train(kind: str, sharding: str, devices: int) -> dict[str, np.ndarray]:
        weights = {f"tasks__{task}__weight": float(task in TASKS[kind]) for task in TASKS["single_stream"]}
        tokens = "conv" if kind == "cross_attention" else "patch"
        config = small_config(
            model__family=kind, model__width=32, model__heads=4, model__image_tokens=tokens,
            sharding=strategy_of(sharding),
            train__steps=STEPS, optim__lr=3e-3, **weights,
        )  # fmt: skip
        run = build(config, small_vocabulary, jax.devices()[:devices])
        assert run.strategy.mesh.size == devices
        if sharding == "towers":
            split = {
                stage: {axis for leaf in jax.tree.leaves(params) for axis in jax.tree.leaves(tuple(leaf.sharding.spec))}
                for stage, params in run.abstract_state.params.items()
            }
            assert "tensor" not in split["image_layers"]
            assert "tensor" in split["text_layers"]
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
