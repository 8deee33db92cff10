"""Masked region modelling as a task of a run: its own pass, its loss falls, and it goes with the others."""

import jax
import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.tasks.mrm import HIDDEN
from vlfusion_jax.train.setup import build
from vlfusion_jax.train.views import run_views, view_inputs

SETTINGS = {"tasks__mrm__weight": 1.0, "tasks__mrm__rate": 0.4, "model__layers": 1}


def made(small_config, small_vocabulary, **changes):
    config = small_config(**SETTINGS | changes)
    return config, build(config, small_vocabulary, jax.devices()[:1])


@pytest.mark.parametrize("family", ["single_stream", "cross_attention"])  # the second encodes an image for all texts
def test_what_is_hidden_is_hidden_from_its_own_view_alone(
    small_config, small_vocabulary, random_batch, random_state, family
):
    """Captions of both views are equally long, and yet the images are not the same."""
    config, run = made(small_config, small_vocabulary, model__family=family)
    batch, params = random_batch(config, 0), random_state(run).params
    assert (batch[HIDDEN] >= 0).any()
    found = run_views(run.model, params, batch, run.tasks, None)
    for task in run.tasks:
        alone = run.model.apply({"params": params}, view_inputs(batch, task.view), (task.name,))
        pairs = zip(*(jax.tree.leaves(x.logits[task.name]) for x in (found[task.view], alone)), strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(one, other, atol=2e-6, err_msg=task.name)
    nothing = batch | {HIDDEN: np.full_like(batch[HIDDEN], -1)}
    other = run_views(run.model, params, nothing, run.tasks, None)
    for name in (names.MATCH, names.MASKED, names.QUESTION):
        np.testing.assert_array_equal(found[name].image, other[name].image)
    assert np.abs(np.asarray(found[names.MASKED_IMAGE].image) - other[names.MASKED_IMAGE].image).max() > 1e-4


@pytest.mark.parametrize(("target", "loss", "most"), [("feature", "mse", 0.5), ("class", "mse", 0.6)])
def test_loss_falls(small_config, small_vocabulary, random_batch, target, loss, most):
    """Images of one colour each: what is hidden is what is shown beside it."""
    only = {f"tasks__{name}__weight": 0.0 for name in ("mlm", "itm", "vqa")}
    steps = {"optim__lr": 1e-2, "optim__warmup_steps": 5, "train__steps": 60}
    config, run = made(
        small_config, small_vocabulary, **only, **steps, tasks__mrm__target=target, tasks__mrm__loss=loss
    )
    batch = random_batch(config, 1)
    colours = np.random.default_rng(2).integers(0, 2, (len(batch[names.IMAGE]), 1, 1, 3)) * 200
    batch[names.IMAGE] = np.broadcast_to(colours, batch[names.IMAGE].shape).astype(np.uint8)
    batch[names.IMAGE_MASK] = np.ones_like(batch[names.IMAGE_MASK])
    state, losses = run.init_state(), []
    for _ in range(60):
        state, metrics = run.train_step(state, batch)
        losses.append(float(metrics["mrm_loss"]))
    assert np.isfinite(losses).all()
    assert losses[-1] < most * losses[0], losses
    sums = run.eval_step(state.params, batch)
    assert float(sums["mrm_loss"][1]) == (batch[HIDDEN] >= 0).sum()
    assert ("mrm_accuracy" in sums) == (target == "class")


def test_a_pass_of_its_own_is_counted(small_config, small_vocabulary):
    flops = {}
    for weights in ({"mlm": 1}, {"mrm": 1}, {"mlm": 1, "mrm": 1}):
        changes = {f"tasks__{name}__weight": float(weights.get(name, 0)) for name in ("mlm", "itm", "vqa", "mrm")}
        flops[tuple(weights)] = made(small_config, small_vocabulary, **changes)[1].flops_per_step
    assert flops["mlm", "mrm"] == flops["mlm",] + flops["mrm",]


@pytest.mark.parametrize("sharding", ["tp_sp:4", pytest.param("fsdp_tp", marks=pytest.mark.slow)])
def test_eight_devices_equal_one(small_config, small_vocabulary, random_batch, random_state, sharding):
    curves = []
    for name, devices in (("dp", 1), (sharding, 8)):
        changes = {"model__width": 32, "model__heads": 4, "sharding": name, "optim__lr": 3e-3}
        config = small_config(**SETTINGS | changes, tasks__mlm__weight=0.0, tasks__vqa__weight=0.0)
        run = build(config, small_vocabulary, jax.devices()[:devices])
        state, losses = random_state(run), []
        for step in range(4):
            batch = {k: jax.device_put(v, run.batch_sharding) for k, v in random_batch(config, step).items()}
            state, metrics = run.train_step(state, batch)
            losses.append([float(metrics[key]) for key in ("loss", "mrm_loss", "itm_loss")])
        curves.append(losses)
    np.testing.assert_allclose(*curves, atol=1e-5, rtol=0)
