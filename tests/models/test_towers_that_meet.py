"""METER, ALBEF and BridgeTower: padding changes nothing that they say, and texts may share an image."""

from functools import partial

import jax
import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.models.output import FusionOutput

HEADS = (names.ITM, names.MLM, names.VQA)
HEADS_OF = {"meter": HEADS, "albef": (*HEADS, names.CONTRASTIVE), "bridgetower": (*HEADS, names.CONTRASTIVE)}
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=HEADS_OF)
def forward(request, random_model):
    """The compiled model, everything captured, on images of 24 x 36 pixels."""
    family = request.param
    given = Given(50, 7, 12, (24, 36))
    spec = FAMILIES[family].spec(hyperparameters(family, "tiny", patch_size=12), given)
    model, params = random_model(spec, HEADS_OF[family])
    apply = jax.jit(partial(model.apply, heads=HEADS_OF[family], capture=True))
    return lambda inputs: apply({"params": params}, inputs)


def said(output: FusionOutput) -> dict[str, np.ndarray]:
    """Outputs, logits and hidden states, at tokens that are valid."""
    keep = {"text": np.asarray(output.text_mask) > 0, "image": np.asarray(output.image_mask) > 0}
    found = {"text": output.text[keep["text"]], "image": output.image[keep["image"]], "pooled": output.pooled}
    for stage, streams in output.hidden.items():
        for stream, x in streams.items():
            found[f"{stage}/{stream}"] = np.asarray(x)[:, keep["text" if stream.endswith("text") else "image"]]
    logits = {f"{name}/{i}": x for name, each in output.logits.items() for i, x in enumerate(jax.tree.leaves(each))}
    return found | logits


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
    expected, found = said(forward(inputs)), said(forward(filled))
    assert found.keys() == expected.keys()
    for name, x in found.items():
        np.testing.assert_allclose(x, expected[name], atol=TOLERANCE, rtol=0, err_msg=name)


def test_texts_may_share_their_image(forward, random_inputs):
    inputs, texts = random_inputs(5, images=2, texts=3), 3
    repeated = inputs | {name: inputs[name].repeat(texts, axis=0) for name in (names.IMAGE, names.IMAGE_MASK)}
    shared, expected = forward(inputs), forward(repeated)
    assert len(shared.hidden["image_layers"]["image"][0]) == 2, "an image is encoded once"
    np.testing.assert_allclose(shared.pooled, expected.pooled, atol=TOLERANCE, rtol=0)
    for head in HEADS:
        np.testing.assert_allclose(shared.logits[head], expected.logits[head], atol=TOLERANCE, rtol=0, err_msg=head)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("bridgetower", {"cross_layers": 4}, "model.cross_layers is 4; it must be between 1 and model.layers 3"),
        ("meter", {"image_width": 96}, "model.image_width 96 does not divide by 64"),
    ],
)
def test_refused(family, changes, message):
    with pytest.raises(UserError, match=message):
        FAMILIES[family].spec(hyperparameters(family, "tiny", **changes), Given(50, 7, 12, (24, 32)))
