from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vlfusion_jax.evals.runner import evaluate


def sums(params, batch):
    score, weight = batch["score"] * params, batch["weight"]
    return {"accuracy": ((score * weight).sum(), weight.sum()), "empty": (0 * weight.sum(), 0 * weight.sum())}


@pytest.fixture
def run():
    mesh = jax.make_mesh((1,), ("data",), (AxisType.Auto,), devices=jax.devices()[:1])
    return SimpleNamespace(eval_step=jax.jit(sums), batch_sharding=NamedSharding(mesh, PartitionSpec("data")))


def test_is_the_weighted_mean_over_all_batches(run):
    rng = np.random.default_rng(0)
    score = rng.random((7, 4)).astype(np.float32)
    weight = rng.integers(0, 3, (7, 4)).astype(np.float32)
    found = evaluate(run, jnp.float32(2), ({"score": s, "weight": w} for s, w in zip(score, weight, strict=True)))
    expected = (2 * score.astype(np.float64) * weight).sum() / weight.sum()
    assert found == {"accuracy": pytest.approx(expected, rel=1e-6)}  # no weight: left out, not 0 / 0


def test_adds_in_double_precision(run):
    # In f32, 2**24 + 1 = 2**24: a running sum would lose every later batch.
    batches = [{"score": np.ones(1, np.float32), "weight": np.full(1, w, np.float32)} for w in (2**24, 1, 1, 1)]
    batches[0]["score"] *= 0
    assert evaluate(run, jnp.float32(1), batches) == {"accuracy": 3 / (2**24 + 3)}


def test_without_batches_there_is_nothing(run):
    assert evaluate(run, jnp.float32(1), []) == {}
