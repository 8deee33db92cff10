"""The momentum encoder and its queue against NumPy in float64, step by step, through a checkpoint, on eight devices."""

from contextlib import closing
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tasks.albef import taught_loss
from vlfusion_jax.core import names
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.data.vocabulary import Vocabulary
from vlfusion_jax.tasks import itc
from vlfusion_jax.train.checkpoint import Checkpointer
from vlfusion_jax.train.meta import describe
from vlfusion_jax.train.momentum import PARAMS, QUEUE
from vlfusion_jax.train.setup import build
from vlfusion_jax.train.views import view_inputs

STEPS, BATCH, LENGTH, RATE, SHARE, SOFT_STEPS, STOP = 20, 8, 24, 0.7, 0.3, 12, 7


@pytest.fixture(scope="module")
def config(albef_config):
    return albef_config(
        {"itc": 1}, train__steps=STEPS, train__batch_size=BATCH, optim__lr=3e-3, tasks__itc__momentum=RATE,
        tasks__itc__queue=LENGTH, tasks__itc__soft_share=SHARE, tasks__itc__soft_steps=SOFT_STEPS,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(config, small_vocabulary):
    return build(config, small_vocabulary, jax.devices()[:1])


@pytest.fixture(scope="module")
def batches(config, random_batch):
    """Batches with duplicates in themselves and with those before, and rows without a caption."""
    made = [random_batch(config, seed) for seed in range(STEPS)]
    for batch in made:
        batch[itc.TEXT][5], batch[itc.WEIGHT][[3, 5]] = batch[itc.TEXT][3], 1
    assert any((batch[itc.WEIGHT] == 0).any() for batch in made)
    return made


@pytest.fixture(scope="module")
def states(run, batches, random_state):
    """The state before every step and after the last, on the host; and the metrics of every step."""
    state, seen, metrics = random_state(run), [], []
    for batch in batches:
        seen.append(jax.device_get(state))
        state, found = run.train_step(state, batch)
        metrics.append({name: float(value) for name, value in found.items()})
    return [*seen, jax.device_get(state)], metrics


def test_average_queue_and_targets_equal_numpy(run, batches, states):
    seen, metrics = states

    @jax.jit
    def vectors(params, batch):
        inputs = view_inputs(batch, names.PLAIN)
        return run.model.apply({"params": params}, inputs, (names.CONTRASTIVE,)).logits[names.CONTRASTIVE]

    width = run.config.model.contrastive_width
    average = {path: np.asarray(leaf, np.float64) for path, leaf in flatten(seen[0].params).items()}
    queue = {name: np.zeros((LENGTH, width)) for name in (names.TEXT, names.IMAGE)}
    queue[names.RECORD], position = np.full(LENGTH, -1), 0
    tree = jax.tree.structure(seen[0].params)
    for step, batch in enumerate(batches):
        before, after = seen[step], seen[step + 1]
        average = {
            path: RATE * average[path] + (1 - RATE) * np.asarray(leaf, np.float64)
            for path, leaf in flatten(before.params).items()
        }
        for path, leaf in flatten(after.extras[PARAMS]).items():
            np.testing.assert_allclose(leaf, average[path], atol=1e-6, err_msg=path)
        as_f32 = jax.tree.unflatten(tree, [average[path].astype(np.float32) for path in flatten(before.params)])
        teacher, student = vectors(as_f32, batch), vectors(before.params, batch)
        taught = batch | {
            itc.TEACHER_TEXT: np.asarray(teacher[names.TEXT]),
            itc.TEACHER_IMAGE: np.asarray(teacher[names.IMAGE]),
            itc.QUEUE_TEXT: queue[names.TEXT],
            itc.QUEUE_IMAGE: queue[names.IMAGE],
            itc.QUEUE_RECORD: queue[names.RECORD],
            itc.SOFT_SHARE: SHARE * min(step / SOFT_STEPS, 1),
        }
        scale, weight = float(student["scale"]), batch[itc.WEIGHT].sum()
        own = (np.asarray(student[name]) for name in (names.TEXT, names.IMAGE))
        expected = taught_loss(*own, taught, scale, scale) / weight
        np.testing.assert_allclose(metrics[step]["itc_loss"], expected, rtol=2e-5, err_msg=f"step {step}")
        for i in range(BATCH):
            place = (position + i) % LENGTH
            for name in (names.TEXT, names.IMAGE):
                queue[name][place] = teacher[name][i]
            queue[names.RECORD][place] = batch[itc.RECORD][i] if batch[itc.WEIGHT][i] else -1
        position = (position + BATCH) % LENGTH
        kept = after.extras[QUEUE]
        np.testing.assert_array_equal(kept[names.RECORD], queue[names.RECORD])
        assert int(kept["position"]) == position
        for name in (names.TEXT, names.IMAGE):
            np.testing.assert_allclose(kept[name], queue[name], atol=2e-5)
    moved = [np.abs(average[path] - leaf).max() for path, leaf in flatten(seen[-1].params).items()]
    assert max(moved) > 1e-3, "the average lags behind"
    assert metrics[-1]["itc_loss"] != metrics[0]["itc_loss"]


def test_a_resumed_run_goes_on_exactly(run, batches, states, random_state, tmp_path):
    meta = describe(replace(run, vocabulary=Vocabulary("{}", (), ())), 0.0)
    with closing(Checkpointer(tmp_path, run.config.checkpoint)) as checkpoints:
        state = random_state(run)
        for batch in batches[:STOP]:
            state, _ = run.train_step(state, batch)
        checkpoints.save(STOP, state, meta, None)
        checkpoints.wait()
        state = checkpoints.restore(run.abstract_state).state
    assert int(state.extras[QUEUE]["position"]) == STOP * BATCH % LENGTH > 0
    for batch in batches[STOP:]:
        state, _ = run.train_step(state, batch)
    expected = flatten(states[0][-1])
    for path, leaf in flatten(state).items():
        np.testing.assert_array_equal(leaf, expected[path], err_msg=path)


def test_what_starts_from_given_parameters_follows_from_them(config, small_vocabulary, random_state):
    """Laid out on all devices as the run says, so that nothing is sent when the first step begins."""
    config = config.copy_and_resolve_references()
    config.sharding = "fsdp"
    run = build(config, small_vocabulary, jax.devices())
    given = random_state(run).params
    state = run.start_from(random_state(run), jax.tree.map(lambda x: x + 1, given))
    for leaf, other in zip(jax.tree.leaves(state.extras[PARAMS]), jax.tree.leaves(given), strict=True):
        np.testing.assert_array_equal(leaf, other + 1)
    assert (np.asarray(state.extras[QUEUE][names.RECORD]) == -1).all()
    for path, leaf in flatten(state.extras).items():
        wanted = flatten(run.abstract_state.extras)[path]
        assert leaf.sharding.is_equivalent_to(wanted.sharding, leaf.ndim), path
        assert (leaf.shape, leaf.dtype) == (wanted.shape, wanted.dtype)
    assert any(not leaf.is_fully_replicated for leaf in jax.tree.leaves(state.extras[PARAMS]))


@pytest.mark.slow
def test_without_a_queue_or_soft_targets(albef_config, small_vocabulary, random_batch, random_state):
    """At the first step the average is the model: it is the contrast of the batch with itself."""
    changes = {"tasks__itc__soft_share": 0.0, "optim__lr": 1e-3}
    plain, taught = (
        build(albef_config({"itc": 1}, tasks__itc__momentum=rate, **changes), small_vocabulary, jax.devices()[:1])
        for rate in (0.0, 0.9)
    )
    batch = random_batch(plain.config, 1)
    _, expected = plain.train_step(random_state(plain), batch)
    state, found = taught.train_step(random_state(taught), batch)
    np.testing.assert_allclose(found["itc_loss"], expected["itc_loss"], rtol=1e-6)
    assert state.extras[QUEUE][names.TEXT].shape == (0, plain.config.model.contrastive_width)
    assert found["grad_norm"] < expected["grad_norm"], "no gradient reaches the other side's vectors"
    assert jnp.isfinite(found["loss"])
