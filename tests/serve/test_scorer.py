"""Vectors and pairs of fixed shapes against the model on one image and one text at a time."""

import jax
import numpy as np
import pytest

from tests.serve.conftest import BOTH, TEXTS, pictures
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.parallel.loading import load_strategy
from vlfusion_jax.serve.inputs import encode_pictures, encode_texts
from vlfusion_jax.serve.scorer import Scorer, grouped

IMAGES = pictures(5)
PAIRS = np.array([[4, 6], [0, 0], [2, 5], [0, 3], [0, 1], [2, 2], [0, 4], [0, 2], [0, 5], [0, 6], [4, 0], [0, 0]])


def inputs_of(model):
    spec = model.module.spec
    return (
        encode_pictures(IMAGES, spec, model.config.data)[0],
        encode_texts(TEXTS, spec, model.vocabulary, 8)[0],
    )


def one_by_one(model, heads):
    """Function (image, text) -> the model's logits for that pair alone, from its inputs."""
    images, texts = inputs_of(model)
    apply = jax.jit(lambda inputs: model.module.apply({"params": model.params}, inputs, heads).logits)
    return lambda i, t: apply({n: x[[i]] for n, x in images.items()} | {n: x[[t]] for n, x in texts.items()})


@pytest.mark.parametrize("family", ["albef", "blip", "bridgetower", "clip", "vilt"])
def test_equals_the_model_on_each_pair(matching_model, family):
    heads = BOTH if family in ("albef", "blip", "bridgetower", "clip") else (names.ITM,)
    model = matching_model(family, heads)
    scorer = Scorer(model.module, model.params, heads, batch_size=12)
    images, texts = (scorer.encode(*each) for each in zip((names.IMAGE, names.TEXT), inputs_of(model), strict=True))
    alone = one_by_one(model, heads)
    logits = [alone(*pair)[names.ITM][0] for pair in PAIRS]
    expected = np.array([match - other for other, match in logits])
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(scorer.judge(images, texts, PAIRS), expected, rtol=1e-4, atol=2e-5)
    assert scorer.compares == (names.CONTRASTIVE in heads)
    for encoded, side in ((images, names.IMAGE), (texts, names.TEXT)):
        if not scorer.compares:
            assert encoded.vectors is None
            continue
        pairs = [(i, 0) if side == names.IMAGE else (0, i) for i in range(encoded.rows)]
        one = np.concatenate([alone(*pair)[names.CONTRASTIVE][side] for pair in pairs])
        np.testing.assert_allclose(encoded.vectors, one, atol=1e-5)
        assert np.ptp(one, axis=0).max() > 1e-2


def test_what_is_kept_is_what_pairs_need(matching_model):
    """Tokens where no step mixes them before the fusion, inputs otherwise; nothing for vectors alone."""
    for family, tokens in (("albef", {names.IMAGE, names.TEXT}), ("blip", {names.IMAGE}), ("bridgetower", set())):
        model = matching_model(family)
        scorer = Scorer(model.module, model.params, BOTH)
        for side, inputs in zip((names.IMAGE, names.TEXT), inputs_of(model), strict=True):
            kept = scorer.encode(side, inputs).read
            assert set(kept) == ({"tokens", "mask"} if side in tokens else set(inputs))
            without = scorer.encode(side, inputs, for_pairs=False)
            assert without.read == {}
            assert without.rows == len(without.vectors) == len(next(iter(inputs.values())))


@pytest.mark.parametrize(("sharding", "batch_size"), [("dp", 8), ("fsdp", 24)])
def test_devices_share_the_rows(matching_model, sharding, batch_size):
    model = matching_model("albef")
    strategy = load_strategy(sharding)
    params = jax.device_put(model.params, strategy.replicated)
    several = Scorer(model.module, params, BOTH, batch_size, strategy)
    one = Scorer(model.module, model.params, BOTH)
    inputs = dict(zip((names.IMAGE, names.TEXT), inputs_of(model), strict=True))
    of_several, of_one = ([s.encode(*each) for each in inputs.items()] for s in (several, one))
    assert strategy.batch_parts == 8
    for ours, expected in zip(of_several, of_one, strict=True):
        np.testing.assert_allclose(ours.vectors, expected.vectors, atol=1e-5)
    np.testing.assert_allclose(several.judge(*of_several, PAIRS), one.judge(*of_one, PAIRS), atol=2e-5)


def test_one_logit_is_the_score_of_a_retrieval_head(matching_model):
    model = matching_model("vilt", (names.RETRIEVAL,))
    scorer = Scorer(model.module, model.params, model.heads)
    encoded = [scorer.encode(side, x) for side, x in zip((names.IMAGE, names.TEXT), inputs_of(model), strict=True)]
    alone = one_by_one(model, model.heads)
    expected = [alone(*pair)[names.RETRIEVAL][0, 0] for pair in PAIRS]
    np.testing.assert_allclose(scorer.judge(*encoded, PAIRS), expected, atol=2e-5)


def test_a_model_without_a_matching_head_judges_nothing(matching_model):
    model = matching_model("siglip", (names.CONTRASTIVE,))
    scorer = Scorer(model.module, model.params, model.heads)
    with pytest.raises(UserError, match=r"does not judge pairs of image and text: it has none of the heads itm, retr"):
        scorer.check_judges()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [1, 3, 8])
def test_groups_hold_every_pair_once(seed, size):
    rng = np.random.default_rng(seed)
    pairs = np.stack([rng.integers(6, size=40), rng.integers(9, size=40)], axis=1)
    image, text, slots = grouped(pairs, size)
    assert len(set(slots.tolist())) == 40
    np.testing.assert_array_equal(text.reshape(-1)[slots], pairs[:, 1])
    np.testing.assert_array_equal(image[slots // size], pairs[:, 0])
    counts = np.bincount(pairs[:, 0])
    assert len(image) == sum(-(-n // size) for n in counts)
