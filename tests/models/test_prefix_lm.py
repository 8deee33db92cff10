"""Layers over image and text that also write: left to right in the text, the image as it is without it."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.models.generate import generate
from vlfusion_jax.models.search import Search
from vlfusion_jax.ops.masks import order_of

LENGTH, END = 6, 7


@pytest.fixture(scope="module", params=["vilt", "single_stream"])
def writer(request, random_model):
    """Model, parameters, and the compiled model with all word logits."""
    more = {"image_tokens": "conv"} if request.param == "single_stream" else {"max_image_tokens": 6}
    spec = FAMILIES[request.param].spec(
        hyperparameters(request.param, "tiny", patch_size=12, prefix_lm=True, **more), Given(50, 7, 12, (24, 36))
    )
    model, params = random_model(spec, (names.CAPTION, names.MLM))
    return model, params, jax.jit(partial(model.apply, heads=(names.CAPTION,)))


def written(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return inputs | {names.TEXT_MASK: np.asarray(order_of(inputs[names.TEXT_MASK]))}


def test_a_word_follows_from_the_image_and_the_words_before_it(writer, random_inputs):
    _, params, apply = writer
    inputs = written(random_inputs(5, tokens=LENGTH))
    before = apply({"params": params}, inputs)
    place = 2
    changed = inputs[names.TEXT].copy()
    changed[:, place] = 49 - changed[:, place]
    after = apply({"params": params}, inputs | {names.TEXT: changed})
    np.testing.assert_allclose(
        after.logits[names.CAPTION][:, :place], before.logits[names.CAPTION][:, :place], atol=1e-6
    )
    valid = np.asarray(inputs[names.TEXT_MASK]) > 0
    differs = np.abs(np.asarray(after.logits[names.CAPTION] - before.logits[names.CAPTION]))[..., :50].max(-1)
    assert (differs[:, place:][valid[:, place:]] > 1e-4).all()
    np.testing.assert_allclose(after.image, before.image, atol=1e-6)

    seen = (inputs[names.IMAGE].astype(int) + 60) % 256
    other = apply(
        {"params": params}, inputs | {names.IMAGE: seen.astype(np.uint8) * inputs[names.IMAGE_MASK][..., None]}
    )
    assert (np.abs(other.logits[names.CAPTION] - before.logits[names.CAPTION]).max((1, 2)) > 1e-4).all()


def test_texts_that_are_read_are_read_as_ever(writer, random_inputs):
    model, params, _ = writer
    inputs = random_inputs(6, tokens=LENGTH)
    steps = [step for step in model.spec.steps if getattr(step, "ordered", False)]
    assert len(steps) == 1
    plain = model.clone(spec=spec_without_order(model.spec))
    for ours, theirs in zip(
        *(m.apply({"params": params}, inputs, (names.MLM,)).logits.values() for m in (model, plain)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def spec_without_order(spec):
    return replace(
        spec, steps=tuple(replace(s, ordered=False) if getattr(s, "ordered", False) else s for s in spec.steps)
    )


def test_greedy_texts_are_the_best_words_of_the_whole_text(writer, random_inputs):
    model, params, apply = writer
    inputs = random_inputs(7, tokens=LENGTH)
    images = {name: inputs[name] for name in (names.IMAGE, names.IMAGE_MASK)}
    prompt, mask = np.array([[2, 9], [2, 0], [2, 11]], np.int32), np.array([[1, 1], [1, 0], [1, 1]], np.int32)
    search = Search(END, 0, max_length=LENGTH)
    found = generate(model, params, images, names.CAPTION, prompt, mask, search)
    tokens, lengths = np.asarray(found.tokens), np.asarray(found.mask).sum(1)
    output = apply({"params": params}, images | {names.TEXT: tokens, names.TEXT_MASK: np.asarray(order_of(found.mask))})
    best = np.argmax(output.logits[names.CAPTION], axis=-1)
    log_probs = np.asarray(jax.nn.log_softmax(output.logits[names.CAPTION]))
    for row, length in enumerate(lengths):
        own = np.arange(mask[row].sum(), length)
        assert len(own)
        np.testing.assert_array_equal(tokens[row, own], best[row, own - 1])
        np.testing.assert_allclose(
            found.log_probs[row], log_probs[row, own - 1, tokens[row, own]].sum(), rtol=1e-5, atol=1e-5
        )


def test_beams_find_the_most_probable_of_all_texts(writer, random_inputs):
    """As many beams as there are words leave nothing out of texts of two words."""
    model, params, apply = writer
    inputs = random_inputs(8, images=1, tokens=LENGTH)
    images = {name: inputs[name] for name in (names.IMAGE, names.IMAGE_MASK)}
    prompt = np.array([[2]], np.int32)
    search = Search(END, 0, beams=50, max_length=3, length_penalty=0.0)
    found = generate(model, params, images, names.CAPTION, prompt, np.ones_like(prompt), search)
    pairs = np.stack(np.meshgrid([2], np.arange(50), [0], indexing="ij"), -1).reshape(-1, 3)
    output = apply(
        {"params": params},
        images | {names.TEXT: pairs, names.TEXT_MASK: np.asarray(order_of(np.array([[1, 1, 0]] * 50)))},
    )
    log_probs = np.asarray(jax.nn.log_softmax(output.logits[names.CAPTION][..., :50]))
    totals = log_probs[0, 0][:, None] + log_probs[:, 1]
    totals[END] = log_probs[0, 0, END]  # ends there
    np.testing.assert_allclose(found.log_probs[0], totals.max(), rtol=1e-5)
