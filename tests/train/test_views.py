"""Hard pairs that a batch makes of itself, against every pair of its texts and images run on its own."""

import jax
import numpy as np
import pytest

from tests.tasks.albef import same_of
from vlfusion_jax.core import names, rng
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.tasks import itc
from vlfusion_jax.train.setup import build
from vlfusion_jax.train.views import run_views, view_inputs

ROWS = 6
ROUNDING = 2e-5  # of logits near 1, through parameters large enough for them


@pytest.fixture(scope="module", params=["albef", "bridgetower"])
def case(request, albef_config, small_vocabulary, random_batch, random_state):
    """(run, parameters, batch, ITM logits [texts, images, 2] of every pair).

    Of a family that encodes before it fuses, whose tokens are chosen from, and of one that mixes as it encodes.
    """
    config = albef_config({"itm": 1}, tasks__itm__negatives="hard", train__batch_size=ROWS, eval__batch_size=ROWS)
    if request.param != "albef":
        config.model = hyperparameters(request.param, "tiny", dropout=0.0, attention_dropout=0.0)
        config.data.image_size = (config.model.patch_size * 2, config.model.patch_size * 2)
    run = build(config, small_vocabulary, jax.devices()[:1])
    params = jax.tree.map(lambda x: x * 8 if x.ndim > 1 else x, random_state(run).params)
    batch = random_batch(config, 4)
    batch[itc.WEIGHT][:] = [1, 1, 1, 0, 1, 1]
    batch[itc.RECORD][:] = [3, 5, 3, 3, 8, 9]

    @jax.jit
    def pairs(batch, texts, images):
        inputs = view_inputs(batch, names.PLAIN)
        chosen = {
            name: inputs[name][texts if name in (names.TEXT, names.TEXT_MASK) else images]
            for name in (names.TEXT, names.TEXT_MASK, names.IMAGE, names.IMAGE_MASK)
        }
        return run.model.apply({"params": params}, chosen, (names.ITM,)).logits[names.ITM]

    texts, images = (x.ravel() for x in np.mgrid[:ROWS, :ROWS])
    return run, params, batch, np.asarray(pairs(batch, texts, images)).reshape(ROWS, ROWS, 2)


def test_pairs_are_of_the_batch(case):
    """Those that match, then images with a text that is not theirs, then texts with an image that is not theirs."""
    run, params, batch, expected = case
    flat = expected.reshape(-1, 2)
    apart = np.abs(flat[:, None] - flat).max(-1) + np.eye(ROWS**2)
    assert apart.min() > 4 * ROUNDING, "pairs can be told apart"
    others = ~same_of(batch) & (np.outer(batch[itc.WEIGHT], batch[itc.WEIGHT]) > 0)

    @jax.jit
    def forward(batch, key):
        return run_views(run.model, params, batch, run.tasks, key)[names.HARD].logits[names.ITM]

    drawn = set()
    for seed in range(12):
        logits = np.asarray(forward(batch, rng.key(seed, names.DROPOUT)))
        own = expected[np.arange(ROWS), np.arange(ROWS)]
        np.testing.assert_allclose(logits[:ROWS], own, atol=ROUNDING)
        for i in np.flatnonzero(batch[itc.WEIGHT]):
            of_image = np.abs(expected[:, i] - logits[ROWS + i]).max(-1)
            of_text = np.abs(expected[i] - logits[2 * ROWS + i]).max(-1)
            assert of_image.min() < ROUNDING
            assert of_text.min() < ROUNDING
            assert others[of_image.argmin(), i]
            assert others[i, of_text.argmin()]
            drawn |= {(0, int(of_image.argmin()), i), (1, i, int(of_text.argmin()))}
    assert len(drawn) > 12, "another draw each step"


def test_an_evaluation_draws_the_same_again(case):
    run, params, batch, _ = case
    one, two = (run.eval_step(params, batch) for _ in range(2))
    assert float(one["itm_loss"][0]) == float(two["itm_loss"][0])
    assert float(one["itm_loss"][1]) == 15, "five pairs that match, and two that do not for each"
