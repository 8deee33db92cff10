"""Towers that never meet: neither padding nor other rows change what they say; an image is encoded once."""

from functools import partial

import jax
import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.models.output import FusionOutput

HEADS = (names.CONTRASTIVE, names.ITM, names.VQA)
TOLERANCE = 2e-6


@pytest.fixture(scope="module", params=["clip", "siglip"])
def forward(request, random_model):
    """The compiled model, on images of 24 x 36 pixels."""
    spec = FAMILIES[request.param].spec(
        hyperparameters(request.param, "tiny", patch_size=12), Given(50, 7, 12, (24, 36))
    )
    model, params = random_model(spec, HEADS)
    apply = jax.jit(partial(model.apply, heads=HEADS))
    return lambda inputs: apply({"params": params}, inputs)


def said(output: FusionOutput) -> dict[str, np.ndarray]:
    """All outputs, tokens where they are valid."""
    tokens = {"text": (output.text, output.text_mask), "image": (output.image, output.image_mask)}
    found = {name: np.asarray(x)[np.asarray(mask) > 0] for name, (x, mask) in tokens.items()}
    contrast = {f"contrast/{name}": x for name, x in output.logits[names.CONTRASTIVE].items()}
    heads = {name: output.logits[name] for name in (names.ITM, names.VQA)}
    return found | contrast | heads | {"pooled": output.pooled}


def test_padding_changes_nothing(forward, random_inputs):
    inputs, rng = random_inputs(1), np.random.default_rng(2)
    longer = {name: np.pad(inputs[name], ((0, 0), (0, 5))) for name in (names.TEXT, names.TEXT_MASK)}
    words = rng.integers(5, 50, longer[names.TEXT].shape).astype(np.int32)
    pixels = rng.integers(256, size=inputs[names.IMAGE].shape).astype(np.uint8)
    filled = inputs | {
        names.TEXT: np.where(longer[names.TEXT_MASK] > 0, longer[names.TEXT], words),
        names.TEXT_MASK: longer[names.TEXT_MASK],
        names.IMAGE: np.where(inputs[names.IMAGE_MASK][..., None] > 0, inputs[names.IMAGE], pixels),
    }
    expected = said(forward(inputs))
    for name, x in said(forward(filled)).items():
        np.testing.assert_allclose(x, expected[name], atol=TOLERANCE, rtol=0, err_msg=name)


def test_vectors_of_a_text_and_an_image_depend_on_nothing_else(forward, random_inputs):
    inputs, others = random_inputs(3), random_inputs(4)
    mixed = inputs | {name: others[name] for name in (names.IMAGE, names.IMAGE_MASK)}
    expected, changed = (said(forward(x)) for x in (inputs, mixed))
    np.testing.assert_allclose(changed["contrast/text"], expected["contrast/text"], atol=TOLERANCE, rtol=0)
    assert (np.abs(changed["contrast/image"] - expected["contrast/image"]).max(1) > 1e-3).all()
    assert (np.abs(changed[names.VQA] - expected[names.VQA]).max(1) > 1e-3).all()


def test_texts_may_share_their_image(forward, random_inputs):
    inputs, texts = random_inputs(5, images=2, texts=3), 3
    repeated = inputs | {name: inputs[name].repeat(texts, axis=0) for name in (names.IMAGE, names.IMAGE_MASK)}
    shared, expected = forward(inputs), forward(repeated)
    assert shared.image.shape[0] == 2
    assert shared.logits[names.CONTRASTIVE]["logits"].shape == (6, 2)
    for x, y in (
        (shared.pooled, expected.pooled),
        (shared.logits[names.VQA], expected.logits[names.VQA]),
        (shared.logits[names.CONTRASTIVE]["logits"], expected.logits[names.CONTRASTIVE]["logits"][:, ::texts]),
    ):
        np.testing.assert_allclose(x, y, atol=TOLERANCE, rtol=0)
