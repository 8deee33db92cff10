"""Gradients of a batch computed in parts are those of the whole batch, whatever its masks."""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.tasks.itm import LABEL as ITM_LABEL
from vlfusion_jax.tasks.itm import WEIGHT as ITM_WEIGHT
from vlfusion_jax.tasks.mlm import WEIGHTS as MLM_WEIGHTS
from vlfusion_jax.tasks.vqa import WEIGHT as VQA_WEIGHT
from vlfusion_jax.train.accumulate import accumulate, split_batch
from vlfusion_jax.train.objective import make_objective, task_scales
from vlfusion_jax.train.setup import build

IMAGES, QUESTIONS = 16, 2


@pytest.fixture(scope="module")
def run(small_config, small_vocabulary):
    config = small_config(train__batch_size=IMAGES, data__questions_per_image=QUESTIONS, model__layers=1)
    return build(config, small_vocabulary, jax.devices()[:1])


@pytest.fixture(scope="module")
def batch(run, random_batch):
    """Uneven: of 8 parts (image i is in part i % 8) some have no item of a task, one has none at all."""
    batch = random_batch(run.config, 2)
    batch[ITM_LABEL][:] = np.arange(IMAGES) % 4 > 0  # as many of both would cancel out
    part = np.arange(IMAGES) % 8
    batch[MLM_WEIGHTS][np.isin(part, [1, 5, 6])] = 0
    batch[ITM_WEIGHT][np.isin(part, [3, 6])] = 0
    batch[VQA_WEIGHT][np.isin(part, [6, 7]).repeat(QUESTIONS)] = 0
    assert all(batch[name].sum() for name in (MLM_WEIGHTS, ITM_WEIGHT, VQA_WEIGHT))
    return batch


@pytest.fixture(scope="module")
def gradients(run, batch, random_state) -> Callable:
    """Function parts -> ((loss, sums), gradients by path)."""
    params = random_state(run).params
    objective = jax.value_and_grad(make_objective(run.model, run.tasks), has_aux=True)
    scales = task_scales(run.tasks, run.config)

    @cache
    def compute(parts: int):
        function = accumulate(objective, parts, IMAGES)
        key = jax.random.key(0)
        result, grads = jax.jit(lambda params: function(params, batch, scales(batch, jnp.int32(0)), key))(params)
        return result, flatten(grads)

    return compute


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_parts_add_up_to_the_batch(gradients, parts):
    (loss, sums), grads = gradients(parts)
    (whole_loss, whole_sums), whole = gradients(1)
    np.testing.assert_allclose(loss, whole_loss, rtol=1e-6)
    for name, (total, weight) in sums.items():
        np.testing.assert_allclose(total, whole_sums[name][0], rtol=1e-6, err_msg=name)
        assert float(weight) == float(whole_sums[name][1])
    norm = np.sqrt(sum(np.sum(np.square(grad)) for grad in whole.values()))
    errors = {path: np.linalg.norm(grad - whole[path]) for path, grad in grads.items()}
    assert np.linalg.norm(list(errors.values())) <= 1e-6 * norm
    for path, error in errors.items():
        # Softmax does not see the keys' bias: its gradient is zero but for rounding, and has no relative error.
        scale = norm if path.endswith("key/bias") else np.linalg.norm(whole[path])
        assert error <= 1e-6 * scale, path


def test_an_image_keeps_its_texts():
    numbered = {
        names.IMAGE: np.arange(IMAGES),
        "question/of": np.arange(IMAGES).repeat(QUESTIONS),
        "question/number": np.tile(np.arange(QUESTIONS), IMAGES),
    }
    parts = split_batch({name: jnp.asarray(x) for name, x in numbered.items()}, 4, IMAGES)
    for part in range(4):
        np.testing.assert_array_equal(parts[names.IMAGE][part], np.arange(part, IMAGES, 4))
        np.testing.assert_array_equal(parts["question/of"][part], np.arange(part, IMAGES, 4).repeat(QUESTIONS))
        np.testing.assert_array_equal(parts["question/number"][part], np.tile(np.arange(QUESTIONS), IMAGES // 4))


def test_parts_stay_on_their_devices(small_config, small_vocabulary):
    """Every device's rows of the batch hold an equal share of every part: cutting the batch moves nothing."""
    strategy = build(small_config(), small_vocabulary).strategy
    rows = jax.device_put(np.arange(IMAGES), strategy.batch_sharding)
    held = {shard.device: set(np.asarray(shard.data).tolist()) for shard in rows.addressable_shards}
    part = np.asarray(split_batch({"x": jnp.arange(IMAGES)}, 2, IMAGES)["x"])
    for numbers in held.values():
        assert all(len(numbers & set(block.tolist())) == 1 for block in part)
