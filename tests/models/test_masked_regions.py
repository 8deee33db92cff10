"""Cells that are hidden: not seen by any token, predicted at their own, and no part of models that hide none."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import flatten, nested
from vlfusion_jax.models.families.table import hyperparameters, model_spec
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.parameters import param_shapes
from vlfusion_jax.models.spec.streams import IMAGE
from vlfusion_jax.ops.masks import patch_mask
from vlfusion_jax.tasks.mrm import HIDDEN, MaskedRegionModelling

IMAGES, TOKENS, HEIGHT, WIDTH, PATCH = 3, 6, 24, 32, 8
COLUMNS = WIDTH // PATCH
CELLS = HEIGHT // PATCH * COLUMNS
# Cells 0-2 and 4-6 of the second are valid, 0-3 of the third.
ENDS = ((24, 32), (16, 24), (8, 32))
HIDDEN_CELLS = np.array([[2, 11, 7], [1, 6, -1], [3, -1, -1]], np.int32)
FAMILIES = [
    *("single_stream", "vilt", "uniter", "vilbert"),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("two_stream", "visualbert", "lxmert", "albef")),
]


def spec_of(family: str, target: str = "feature", weight: float = 1.0, **changes):
    config = default_config()
    config.model = hyperparameters(family, "tiny", **changes)
    config.data.image_size = (HEIGHT, WIDTH)
    config.data.caption_length = config.data.question_length = TOKENS
    config.tasks.mrm.weight, config.tasks.mrm.target = weight, target
    return model_spec(config, 50, 7)


def params_of(spec, heads=(names.MRM,), seed=3):
    rng = np.random.default_rng(seed)
    return {
        path: (path.endswith("scale") + 0.15 * rng.normal(size=shape)).astype(np.float32)
        for path, shape in sorted(param_shapes(spec, heads).items())
    }


def apply(spec, params, inputs, heads=(names.MRM,), **keywords):
    run = jax.jit(partial(FusionModel(spec).apply, heads=heads, **keywords))
    return run({"params": nested(params)}, inputs)


def draw(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = np.zeros((IMAGES, HEIGHT, WIDTH), np.uint8)
    for n, (height, width) in enumerate(ENDS):
        mask[n, :height, :width] = 1
    text_mask = (np.arange(TOKENS) < np.array([[6], [4], [3]])).astype(np.int32)
    return {
        names.IMAGE: rng.integers(256, size=(IMAGES, HEIGHT, WIDTH, 3)).astype(np.uint8) * mask[..., None],
        names.IMAGE_MASK: mask,
        names.TEXT: rng.integers(5, 50, (IMAGES, TOKENS)).astype(np.int32) * text_mask,
        names.TEXT_MASK: text_mask,
        names.HIDDEN: HIDDEN_CELLS,
    }


def draw_given(seed: int, features: int, count: int) -> dict[str, np.ndarray]:
    rng, inputs = np.random.default_rng(seed), draw(seed)
    return {name: inputs[name] for name in (names.TEXT, names.TEXT_MASK, names.HIDDEN)} | {
        names.REGIONS: rng.normal(size=(IMAGES, count, features)).astype(np.float32),
        names.BOXES: rng.random((IMAGES, count, 4), np.float32),
        names.REGION_MASK: (np.arange(count) < np.array([[count], [7], [5]])).astype(np.int32),
    }


def with_other_pixels(inputs, chosen):
    """Other pixels in the cells of each image that `chosen` numbers, where there are pixels."""
    image = inputs[names.IMAGE].copy()
    for n, numbers in enumerate(chosen):
        for cell in numbers[numbers >= 0]:
            row, column = divmod(cell, COLUMNS)
            image[n, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] ^= 0x55
    return inputs | {names.IMAGE: image * inputs[names.IMAGE_MASK][..., None]}


def with_stand_ins(spec, params, inputs):
    """The same image whose hidden cells show what stands in their place: zero, or a vector, as pixels."""
    image, each = inputs[names.IMAGE] / np.float32(255), spec.input(IMAGE)
    mean, std = (np.array(getattr(each, name, (0.5,) * 3), np.float32) for name in ("mean", "std"))
    vector = params.get(f"image/{names.MASK_VECTOR}", np.zeros(3 * PATCH**2)).reshape(PATCH, PATCH, 3)
    for n, numbers in enumerate(HIDDEN_CELLS):
        for cell in numbers[numbers >= 0]:
            row, column = divmod(cell, COLUMNS)
            image[n, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] = vector * std + mean
    return {name: x for name, x in inputs.items() if name != names.HIDDEN} | {names.IMAGE: image.astype(np.float32)}


def outputs(output, hidden=HIDDEN_CELLS):
    text, image = np.asarray(output.text_mask) > 0, np.asarray(output.image_mask) > 0
    predicted = {name: np.asarray(x)[hidden >= 0] for name, x in output.logits[names.MRM].items()}
    return {"text": np.asarray(output.text)[text], "image": np.asarray(output.image)[image]} | predicted


@pytest.mark.parametrize("family", FAMILIES)
def test_no_token_sees_what_is_hidden(family):
    spec, inputs = spec_of(family), draw()
    params = params_of(spec)
    found = outputs(apply(spec, params, inputs))
    for name, other in outputs(apply(spec, params, with_other_pixels(inputs, HIDDEN_CELLS))).items():
        np.testing.assert_array_equal(found[name], other, err_msg=name)
    seen = np.array([[0], [5], [1]])  # while what is shown does count
    other = outputs(apply(spec, params, with_other_pixels(inputs, seen)))
    assert np.abs(found["image"] - other["image"]).max() > 1e-3
    shown = apply(spec, params, {name: x for name, x in inputs.items() if name != names.HIDDEN})
    nothing = apply(spec, params, inputs | {names.HIDDEN: np.full_like(HIDDEN_CELLS, -1)})
    np.testing.assert_allclose(shown.image, nothing.image, atol=1e-5)  # two programs
    assert np.abs(np.asarray(shown.image) - apply(spec, params, inputs).image).max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_predictions_are_at_the_hidden_cells(family):
    """The head on the token of each hidden cell, whose place is counted here by hand."""
    spec, inputs = spec_of(family), draw()
    params = params_of(spec)
    output = apply(spec, params, inputs)
    valid = np.asarray(patch_mask(inputs[names.IMAGE_MASK], PATCH)) > 0
    behind = output.image.shape[1] - CELLS  # the class token, or the whole image
    everywhere = np.asarray(apply(spec, params, with_stand_ins(spec, params, inputs)).logits[names.MRM]["feature"])
    for (n, place), cell in np.ndenumerate(HIDDEN_CELLS):
        if cell < 0:
            continue
        assert valid[n, cell]
        number = valid[n, :cell].sum() if family == "vilt" else cell  # which has valid patches first
        here = output.logits[names.MRM]["feature"][n, place]
        np.testing.assert_allclose(here, everywhere[n, behind + number], atol=1e-5)
        others = np.delete(everywhere[n], behind + number, axis=0)
        if family != "visualbert":  # whose tokens of one content are alike, wherever they are
            assert np.abs(others - here).max(1).min() > 1e-4


@pytest.mark.parametrize("family", ["uniter", "vilbert", "lxmert", "visualbert"])
def test_given_regions(family):
    spec = spec_of(family, region_patch=0, region_features=5, regions=9)
    inputs, params = draw_given(1, 5, 9), params_of(spec)
    inputs[names.HIDDEN] = hidden = np.array([[8, 0, 3], [6, -1, -1], [-1, -1, -1]], np.int32)
    found = outputs(apply(spec, params, inputs), hidden)
    other = inputs[names.REGIONS].copy()
    for n, numbers in enumerate(hidden):
        other[n, numbers[numbers >= 0]] += 3
    for name, x in outputs(apply(spec, params, inputs | {names.REGIONS: other}), hidden).items():
        np.testing.assert_array_equal(found[name], x, err_msg=name)
    assert found["feature"].shape == (4, 5)


def test_uniter_s_vector_stands_where_regions_are_hidden():
    spec = spec_of("uniter", region_patch=0, region_features=5, regions=9)
    inputs, params = draw_given(2, 5, 9), params_of(spec)
    vector = params[f"image/{names.MASK_VECTOR}"]
    assert vector.shape == (5,)
    regions, inputs[names.HIDDEN] = inputs[names.REGIONS].copy(), np.minimum(HIDDEN_CELLS, 8)
    for n, numbers in enumerate(inputs[names.HIDDEN]):
        regions[n, numbers[numbers >= 0]] = vector
    shown = {name: x for name, x in inputs.items() if name != names.HIDDEN} | {names.REGIONS: regions}
    found, expected = (apply(spec, params, each).image for each in (inputs, shown))
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)  # of two programs

    def total(vector):
        output = FusionModel(spec).apply({"params": nested(params | {f"image/{names.MASK_VECTOR}": vector})}, inputs)
        return (output.text**2 * inputs[names.TEXT_MASK][..., None]).sum()

    assert np.abs(jax.grad(total)(jnp.asarray(vector))).min() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_models_that_hide_nothing_are_as_before(family):
    heads = (names.ITM, names.MLM)
    without, hiding = (spec_of(family, weight=weight) for weight in (0.0, 1.0))
    more = param_shapes(hiding, heads).keys() - param_shapes(without, heads).keys()
    assert more == ({f"image/{names.MASK_VECTOR}"} if family == "uniter" else set())
    assert names.MRM not in dict(without.heads)


@pytest.mark.parametrize(("family", "target"), [("vilt", "feature"), ("single_stream", "class"), ("uniter", "feature")])
def test_gradient_reaches_the_image(family, target):
    spec, inputs = spec_of(family, target), draw()
    params = params_of(spec)
    task = MaskedRegionModelling(spec.input(IMAGE), target, target)
    batch = {name: inputs[name] for name in (names.IMAGE, names.IMAGE_MASK)} | {HIDDEN: HIDDEN_CELLS}

    def loss(params):
        output = FusionModel(spec).apply({"params": params}, inputs, (names.MRM,))
        return task.loss(output, batch) / task.weight(batch)

    grads = flatten(jax.jit(jax.grad(loss))(nested(params)))
    image = {path for path in params if path.startswith(("image/", "head_mrm/"))}
    # Nothing is read of a position that no image of the batch is stretched over, or of a type that none has.
    assert {path for path in image if not np.abs(grads[path]).max() > 0} == set()
    assert np.abs(grads["text/embedding/words/table"]).max() > 0
    assert all(np.isfinite(x).all() for x in grads.values())


@pytest.mark.parametrize(
    ("family", "target", "changes", "message"),
    [
        ("single_stream", "feature", {"image_tokens": "conv"}, "reads it through 'conv': choose patches"),
        ("late_fusion", "feature", {"image_tower": "resnet50"}, "reads it through 'resnet': choose patches"),
        ("bert", "feature", {}, "the model reads none: take another model.family"),
        ("vilt", "feature", {"max_image_tokens": 11}, "max_image_tokens 11 may leave out: raise it to the 12"),
    ],
)
def test_refused(family, target, changes, message):
    with pytest.raises(UserError, match=message):
        spec_of(family, target, **changes)
