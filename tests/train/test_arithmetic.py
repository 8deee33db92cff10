"""Analytic FLOPs of an update against a count of every product that the losses of its tasks depend on."""

import jax
import pytest
from jax.interpreters import partial_eval

from tests.models.test_flops import count
from vlfusion_jax.data.pipeline import batch_shapes
from vlfusion_jax.train.arithmetic import update_flops
from vlfusion_jax.train.objective import sums_of
from vlfusion_jax.train.setup import build
from vlfusion_jax.train.views import run_views

ROWS, TOKENS, PATCHES, CLASS_TOKEN = 8, 9, 6, 1
ALL = ("mlm", "itm", "itc", "wpa", "caption", "vqa", "context")


@pytest.mark.parametrize(
    ("tasks", "negatives"),
    [
        (ALL, "random"), (ALL, "hard"), (("itm",), "hard"), (("wpa",), "hard"), (("itc",), "random"),
        (("caption",), "random"), (("mlm", "caption"), "random"), (("itc", "caption"), "random"),
        (("mlm", "itm", "wpa"), "random"), (("mlm", "itm", "itc"), "hard"),
        (("answer",), "random"), (("itc", "mlm", "vqa", "answer"), "random"),
        (("context",), "random"), (("context", "caption"), "random"), (("itc", "context", "mlm"), "random"),
    ],
)  # fmt: skip
def test_equals_the_count(albef_config, small_vocabulary, tasks, negatives):
    config = albef_config(
        dict.fromkeys(tasks, 1.0), tasks__itm__negatives=negatives, train__batch_size=ROWS, data__questions_per_image=2,
        data__caption_length=TOKENS,
    )  # fmt: skip
    run = build(config, small_vocabulary, jax.devices()[:1])
    batch = batch_shapes(config, small_vocabulary)

    def losses(params, batch):
        sums = sums_of(run.tasks, run_views(run.model, params, batch, run.tasks, None), batch)
        return [total for name, (total, _) in sums.items() if name.endswith("_loss")]

    traced = jax.make_jaxpr(losses)(run.abstract_state.params, batch).jaxpr
    needed, _ = partial_eval.dce_jaxpr(traced, [True] * len(traced.outvars))
    found = count(needed)
    # Not of the model, but of the batch: similarities of all texts and images, of all words and patches.
    hard = negatives == "hard" and bool({"itm", "wpa"} & set(tasks))
    found -= (("itc" in tasks) + hard) * 2 * ROWS**2 * config.model.contrastive_width
    if "wpa" in tasks:
        found -= 2 * (3 if hard else 1) * ROWS * TOKENS * (PATCHES + CLASS_TOKEN) * config.model.width
    assert update_flops(config, run.model.spec) == run.flops_per_step == 3 * found


def test_a_momentum_encoder_is_another_forward_pass_of_both_towers(albef_config, small_vocabulary):
    def flops(momentum, *tasks):
        config = albef_config(dict.fromkeys(tasks, 1.0), tasks__itc__momentum=momentum, tasks__itm__negatives="hard")
        return build(config, small_vocabulary, jax.devices()[:1]).flops_per_step

    towers = flops(0.0, "itc") / 3
    assert flops(0.9, "itc") == 4 * towers
    assert flops(0.9, "mlm", "itm", "itc") == flops(0.0, "mlm", "itm", "itc") + towers


def test_drawn_tasks_count_as_often_as_they_are_drawn(albef_config, small_vocabulary):
    def flops(weights, combine="sum", momentum=0.0):
        config = albef_config(weights, tasks__combine=combine, tasks__itc__momentum=momentum)
        return build(config, small_vocabulary, jax.devices()[:1]).flops_per_step

    alone = {task: flops({task: 1.0, "caption": task == "caption"}) for task in ("mlm", "itc", "caption")}
    weights = {"mlm": 3, "itc": 2, "caption": 1}
    mean = sum(weight * alone[task] for task, weight in weights.items()) / 6
    assert abs(flops(weights, "sample") - mean) < 1
    # The average moves on, and the queue with it, whatever task is drawn.
    assert abs(flops(weights, "sample", 0.9) - mean - alone["itc"] / 3) < 1
