"""The objective of a step: every task's mean, times its weight, times its schedule at that step."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.tasks.itm import WEIGHT as ITM_WEIGHT
from vlfusion_jax.tasks.vqa import WEIGHT as VQA_WEIGHT
from vlfusion_jax.train.setup import build
from vlfusion_jax.train.views import run_views, view_inputs


@pytest.fixture(scope="module")
def run(small_config, small_vocabulary):
    config = small_config(
        model__layers=1, tasks__mlm__weight=0.0, tasks__itm__weight=0.5, tasks__vqa__weight=2.0,
        tasks__itm__schedule=((4, 0.0), (8, 1.0)), tasks__vqa__schedule=((0, 1.0), (10, 0.25)), optim__warmup_steps=0,
        optim__schedule="constant",
    )  # fmt: skip
    return build(config, small_vocabulary, jax.devices()[:1])


@pytest.fixture(scope="module")
def batch(run, random_batch):
    return random_batch(run.config, 0)


@pytest.mark.parametrize(
    ("step", "itm", "vqa"), [(0, 0.0, 1.0), (4, 0.0, 0.7), (6, 0.5, 0.55), (8, 1.0, 0.4), (30, 1.0, 0.25)]
)
def test_weights_follow_their_schedules(run, batch, random_state, step, itm, vqa):
    state = random_state(run).replace(step=jnp.int32(step))
    before = {path: np.asarray(leaf) for path, leaf in flatten(state.params).items()}
    state, metrics = run.train_step(state, batch)
    expected = 0.5 * itm * metrics["itm_loss"] + 2.0 * vqa * metrics["vqa_loss"]
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-6)
    moved = {path: np.abs(np.asarray(leaf) - before[path]).max() > 0 for path, leaf in flatten(state.params).items()}
    assert moved["head_itm/classes/bias"] == (itm > 0)
    assert moved["head_vqa/classes/bias"]
    assert int(state.step) == step + 1


def test_losses_are_means_over_what_counts(run, batch, random_state):
    sums = run.eval_step(random_state(run).params, batch)
    _, metrics = run.train_step(random_state(run), batch)
    assert float(sums["itm_loss"][1]) == batch[ITM_WEIGHT].sum()
    assert float(sums["vqa_loss"][1]) == batch[VQA_WEIGHT].sum()
    for name, (total, weight) in sums.items():
        np.testing.assert_allclose(metrics[name], total / weight, rtol=1e-6, err_msg=name)


def test_a_batch_in_which_nothing_counts_is_a_finite_zero(run, batch, random_state):
    nothing = batch | {name: np.zeros_like(batch[name]) for name in (ITM_WEIGHT, VQA_WEIGHT)}
    state, metrics = run.train_step(random_state(run), nothing)
    assert {name: float(metrics[name]) for name in ("loss", "itm_loss", "vqa_loss", "grad_norm")} == {
        "loss": 0, "itm_loss": 0, "vqa_loss": 0, "grad_norm": 0,
    }  # fmt: skip
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state.params, state.opt_state)))


def test_one_task_without_items_leaves_the_others_alone(run, batch, random_state):
    state = random_state(run).replace(step=jnp.int32(8))
    _, metrics = run.train_step(state, batch | {VQA_WEIGHT: np.zeros_like(batch[VQA_WEIGHT])})
    assert float(metrics["vqa_loss"]) == 0
    np.testing.assert_allclose(metrics["loss"], 0.5 * metrics["itm_loss"], rtol=1e-6)
    assert metrics["grad_norm"] > 0


@pytest.mark.parametrize("family", ["single_stream", "two_stream", "cross_attention"])
def test_views_side_by_side_are_as_views_alone(small_config, small_vocabulary, random_batch, random_state, family):
    """Two captions and two questions of each image, all equally long: one pass of four texts an image."""
    masked = family == "single_stream"  # where all words see the image
    config = small_config(model__family=family, model__layers=1, data__question_length=10, tasks__mlm__weight=masked)
    run, batch = build(config, small_vocabulary, jax.devices()[:1]), random_batch(config, 3)
    params = random_state(run).params
    together = jax.jit(partial(run_views, run.model, tasks=run.tasks, rng=None))(params, batch)
    assert set(together) == {names.MATCH, names.QUESTION} | ({names.MASKED} if masked else set())
    for task in run.tasks:
        apply = jax.jit(partial(run.model.apply, heads=(task.name,)))
        alone = apply({"params": params}, view_inputs(batch, task.view))
        ours = together[task.view]
        np.testing.assert_allclose(ours.logits[task.name], alone.logits[task.name], atol=2e-6, err_msg=task.name)
        for name in ("text", "image", "text_mask", "image_mask", "pooled"):
            np.testing.assert_allclose(getattr(ours, name), getattr(alone, name), atol=2e-6, err_msg=name)


def test_views_of_one_length_take_one_pass(small_config, small_vocabulary, random_batch):
    def products(question_length: int) -> tuple[int, int]:
        config = small_config(data__question_length=question_length, model__scan_layers=False, model__remat="none")
        run = build(config, small_vocabulary, jax.devices()[:1])
        traced = jax.make_jaxpr(run.eval_step)(run.abstract_state.params, random_batch(config, 0))
        return str(traced).count("dot_general"), run.flops_per_step

    (apart, flops_apart), (together, flops_together) = products(9), products(10)
    assert together < 0.7 * apart
    # The image is embedded once; all else is as before, but for questions that are longer by a token.
    assert flops_together < flops_apart * 10 / 9
