"""Models that read regions: padded ones change nothing, patches of an image are regions, and regions must come."""

from functools import partial

import jax
import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import nested
from vlfusion_jax.layers.regions import grid_boxes
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.parameters import param_shapes
from vlfusion_jax.ops.masks import normalise_pixels, patch_mask, split_patches

ROWS, TOKENS, SIDE, PATCH = 3, 6, 24, 8
CELLS = (SIDE // PATCH) ** 2
TOLERANCE = 1e-5
HEADS = {
    "visualbert": (names.ITM, names.MLM, names.VQA),
    "lxmert": (names.ITM, names.MLM, names.REGION, names.VQA),
    "uniter": (names.ITM, names.MLM, names.REGION, names.VQA),
    "vilbert": (names.ITM, names.MLM, names.REGION, names.VQA),
}


def make(family: str, **changes):
    """(compiled model, random parameters); everything is captured."""
    model = hyperparameters(family, "tiny", region_features=3 * PATCH**2, **changes)
    spec = FAMILIES[family].spec(model, Given(50, 7, TOKENS, (SIDE, SIDE)))
    rng = np.random.default_rng(3)
    params = {
        path: (path.endswith("scale") + 0.15 * rng.normal(size=shape)).astype(np.float32)
        for path, shape in sorted(param_shapes(spec, HEADS[family]).items())
    }
    apply = jax.jit(partial(FusionModel(spec).apply, heads=HEADS[family], capture=True))
    return lambda inputs: apply({"params": nested(params)}, inputs)


def draw(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    text_mask = np.arange(TOKENS) < np.array([[6], [4], [3]])
    return {
        names.TEXT: rng.integers(5, 50, (ROWS, TOKENS)).astype(np.int32),
        names.TEXT_MASK: text_mask.astype(np.int32),
        names.REGIONS: rng.normal(size=(ROWS, CELLS, 3 * PATCH**2)).astype(np.float32),
        names.BOXES: rng.random((ROWS, CELLS, 4), np.float32),
        names.REGION_MASK: (np.arange(CELLS) < np.array([[9], [5], [2]])).astype(np.int32),
        names.MLM_POSITIONS: rng.integers(0, 3, (ROWS, 2)).astype(np.int32),
    }


def valid(output) -> dict[str, np.ndarray]:
    """What the model says at valid tokens."""
    text, image = np.asarray(output.text_mask) > 0, np.asarray(output.image_mask) > 0
    keep = {"text": text, "image": image, "joint": np.concatenate([text, image], 1)}
    found = {"text": output.text[text], "image": output.image[image], "pooled": output.pooled}
    for name, logits in output.logits.items():
        found |= {f"{name}/{key}": x[image] for key, x in logits.items()} if name == names.REGION else {name: logits}
    for stage, streams in output.hidden.items():
        found |= {f"{stage}/{stream}": np.asarray(x)[:, keep[stream]] for stream, x in streams.items()}
        for name, weights in output.attention[stage].items():
            stream, kind, _ = name.split("_")
            keys = keep[{"text": "image", "image": "text"}[stream] if kind == "cross" else stream]
            pairs = np.broadcast_to((keep[stream][:, :, None] & keys[:, None])[:, None], weights.shape[1:])
            unseen = np.broadcast_to((keep[stream][:, :, None] & ~keys[:, None])[:, None], weights.shape[1:])
            assert not np.asarray(weights)[:, unseen].any(), "a padded token is attended to"
            found[f"{stage}/{name}"] = np.asarray(weights)[:, pairs]
    return {name: np.asarray(x) for name, x in found.items()}


@pytest.mark.parametrize("family", HEADS)
def test_padding_changes_nothing(family):
    forward, inputs, others = make(family, region_patch=0), draw(1), draw(2)
    filled = dict(inputs)
    for name, mask in (
        (names.TEXT, names.TEXT_MASK),
        (names.REGIONS, names.REGION_MASK),
        (names.BOXES, names.REGION_MASK),
    ):
        keep = inputs[mask] > 0
        filled[name] = np.where(keep.reshape(keep.shape + (1,) * (inputs[name].ndim - 2)), inputs[name], others[name])
        assert (filled[name] != inputs[name]).any()
    longer = {name: np.pad(x, ((0, 0), (0, 4)) + ((0, 0),) * (x.ndim - 2)) for name, x in filled.items()}
    longer[names.MLM_POSITIONS] = inputs[names.MLM_POSITIONS]
    expected = valid(forward(inputs))
    for changed in (filled, longer):
        found = valid(forward(changed))
        assert found.keys() == expected.keys()
        for name, x in found.items():
            assert x.size
            np.testing.assert_allclose(x, expected[name], atol=TOLERANCE, rtol=0, err_msg=name)


@pytest.mark.parametrize("family", HEADS)
def test_patches_are_regions(family):
    rng, inputs = np.random.default_rng(4), draw(4)
    mask = np.zeros((ROWS, SIDE, SIDE), np.uint8)
    for each, (height, width) in zip(mask, ((24, 24), (8, 24), (11, 9)), strict=True):
        each[:height, :width] = 1
    image = rng.integers(256, size=(*mask.shape, 3)).astype(np.uint8)
    text = {name: inputs[name] for name in (names.TEXT, names.TEXT_MASK, names.MLM_POSITIONS)}
    of_image = make(family, region_patch=PATCH)(text | {names.IMAGE: image, names.IMAGE_MASK: mask})
    given = {
        names.REGIONS: split_patches(normalise_pixels(image, mask, np.float32), PATCH),
        names.BOXES: np.broadcast_to(grid_boxes(SIDE // PATCH, SIDE // PATCH), (ROWS, CELLS, 4)),
        names.REGION_MASK: patch_mask(mask, PATCH),
    }
    of_regions = make(family, region_patch=0)(text | given)
    for one, other in zip(jax.tree.leaves(of_image), jax.tree.leaves(of_regions), strict=True):
        np.testing.assert_allclose(one, other, atol=TOLERANCE, rtol=0)


def test_images_alone_are_refused():
    inputs = draw(5)
    del inputs[names.REGIONS]
    with pytest.raises(UserError, match=r"set model\.region_patch"):
        make("lxmert", region_patch=0)(inputs)
