"""The least bytes of a strategy, against sums written out for a model of one stage."""

import jax
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.plan.least import least_bytes
from vlfusion_jax.train.setup import build

DEVICES = 8


@pytest.fixture
def built(small_config, small_vocabulary):
    def build_(sharding, **changes):
        config = small_config(model__width=64, model__mlp_width=256, model__heads=4, sharding=sharding, **changes)
        return build(config, small_vocabulary, jax.devices())

    return build_


def numbers(run, split=()):
    """(of parameters with an axis of `split`, of the others)."""
    sizes = [0, 0]
    for param in jax.tree.leaves(run.abstract_state.params):
        axes = set(jax.tree.leaves(tuple(param.sharding.spec)))
        sizes[not axes & set(split)] += param.size
    return sizes


# In units of 4 bytes, for each number of the parameters.
@pytest.mark.parametrize("compute", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("sharding", "computed", "updated"),
    [("dp", 2 * 7 / 8, 0), ("zero1", 7 / 8, 7 / 8), ("fsdp", 3 * 7 / 8, 0), ("hybrid:2", 3 * 3 / 4 + 2 / 2 / 4, 0)],
)
def test_parameters(built, sharding, computed, updated, compute):
    run = built(sharding, tasks__vqa__weight=0.0, precision__compute=compute)
    split, whole = numbers(run, run.strategy.axes_of(names.BATCH))
    itemsize = 4 if compute == "float32" else 2
    expected = itemsize * computed * split + 2 * itemsize * 7 / 8 * whole
    if sharding in ("dp", "zero1"):
        expected = (itemsize * computed + 4 * updated) * (split + whole)
    assert least_bytes(run) == pytest.approx(expected, rel=0.02 if sharding == "zero1" else 1e-9)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_each_micro_batch_and_pass_gathers_again(built, micro_batches):
    run = built("fsdp", train__micro_batches=micro_batches)
    split, whole = numbers(run, ["fsdp"])
    passes = 2  # questions are of another length than captions
    gathers_and_scatter = 2 * passes * micro_batches + 1
    assert least_bytes(run) == pytest.approx(4 * 7 / 8 * (gathers_and_scatter * split + 2 * whole))


@pytest.mark.parametrize("sharding", ["fsdp_tp:2", "tp_sp:2", "fsdp_tp:4"])
def test_activations(built, sharding):
    run = built(sharding, tasks__vqa__weight=0.0)
    parts, config = int(sharding[-1]), run.config
    tokens = 2 * 3 + 1 + config.data.caption_length  # patches of 8 pixels, the class token, the text
    rows = 2 * config.train.batch_size // (DEVICES // parts)  # texts to complete, and to match
    each_way = 2 * (parts - 1) / parts * 4 * rows * tokens * config.model.width
    expected = config.model.layers * 2 * 2 * each_way  # attention and MLP, forward and backward
    of_params = least_bytes(built("fsdp", tasks__vqa__weight=0.0))
    assert expected < least_bytes(run) < expected + of_params / parts
