"""A text with two images gives what the text written once for each image gives; VisualBERT reads both in one row."""

import jax
import numpy as np
import pytest

from tests.models.test_flops import counted
from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.given import ANY_GIVEN, Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters, model_spec
from vlfusion_jax.models.flops import passing, row_flops
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.inputs import input_shapes

PAIRS, TOKENS, SIZE = 3, 6, (24, 32)
MORE = {
    "vilt": {"modalities": 3}, "meter": {"modalities": 3}, "bridgetower": {"modalities": 3},
    "uniter": {"token_types": 3}, "visualbert": {}, "lxmert": {"region_patch": 8}, "vilbert": {"region_patch": 8},
}  # fmt: skip
HEADS = (names.NLVR,)


def spec_of(family):
    return FAMILIES[family].spec(hyperparameters(family, "tiny", **MORE[family]), Given(50, 7, TOKENS, SIZE))


@pytest.fixture(scope="module")
def inputs():
    """Texts and images of several lengths and sizes, two images to a text."""
    rng = np.random.default_rng(0)
    text_mask = (np.arange(TOKENS) < np.array([6, 3, 4])[:, None]).astype(np.int32)
    image_mask = np.zeros((2 * PAIRS, *SIZE), np.uint8)
    for mask, (height, width) in zip(image_mask, rng.integers(9, SIZE, (2 * PAIRS, 2)), strict=True):
        mask[:height, :width] = 1
    return {
        names.TEXT: rng.integers(5, 50, (PAIRS, TOKENS)).astype(np.int32) * text_mask,
        names.TEXT_MASK: text_mask,
        names.IMAGE: rng.integers(256, size=(2 * PAIRS, *SIZE, 3)).astype(np.uint8) * image_mask[..., None],
        names.IMAGE_MASK: image_mask,
        names.IMAGE_MODALITY: np.tile(np.array([1, 2], np.int32), PAIRS),
    }


def repeated(inputs):
    return inputs | {name: inputs[name].repeat(2, axis=0) for name in (names.TEXT, names.TEXT_MASK)}


def test_these_are_the_families_that_judge_pairs():
    heads = {name: dict(module.spec(hyperparameters(name), ANY_GIVEN).heads) for name, module in FAMILIES.items()}
    assert {name for name, of_family in heads.items() if names.NLVR in of_family} == set(MORE)


@pytest.mark.parametrize("family", [family for family in MORE if family != "visualbert"])
def test_a_text_is_repeated_for_its_images(random_model, inputs, family):
    model, params = random_model(spec_of(family), HEADS, inputs)
    ours, expected = (
        jax.jit(lambda x: model.apply({"params": params}, x, HEADS))(x) for x in (inputs, repeated(inputs))
    )
    assert ours.logits[names.NLVR].shape == (PAIRS, 2)
    np.testing.assert_allclose(ours.logits[names.NLVR], expected.logits[names.NLVR], atol=2e-6)
    np.testing.assert_allclose(ours.pooled, expected.pooled, atol=2e-6)


@pytest.mark.parametrize("family", MORE)
def test_each_image_of_its_own_pair_and_its_place_counts(random_model, inputs, family):
    model, params = random_model(spec_of(family), HEADS, inputs)
    apply = jax.jit(lambda x: model.apply({"params": params}, x, HEADS).logits[names.NLVR])
    before = apply(inputs)
    for place in (0, 1):
        other = inputs | {names.IMAGE: inputs[names.IMAGE].copy()}
        other[names.IMAGE][2 + place, :8, :8] ^= 255
        moved = np.abs(np.asarray(apply(other) - before)).max(axis=1) > 1e-6
        np.testing.assert_array_equal(moved, [False, True, False])
    order = np.arange(2 * PAIRS) ^ 1
    swapped = inputs | {name: inputs[name][order] for name in (names.IMAGE, names.IMAGE_MASK)}
    assert (np.abs(np.asarray(apply(swapped) - before)).max(axis=1) > 1e-6).all()


# The count includes the stretching of ViLT's positions.
@pytest.mark.parametrize("family", [family for family in MORE if family != "vilt"])
def test_flops_equal_the_count(family):
    spec = spec_of(family)
    images, texts = input_shapes(spec.inputs, 2 * PAIRS, TOKENS), input_shapes(spec.inputs, PAIRS, TOKENS)
    of_images = {name: images[name] for name in (names.IMAGE, names.IMAGE_MASK)}
    expected = counted(spec, texts | of_images, HEADS)
    assert PAIRS * row_flops(spec, TOKENS, names.NLVR, images_per_text=2) == expected
    alone, pair = (sum(each.forward for each in passing(spec, TOKENS, 1, images_per_text=count)) for count in (1, 2))
    assert alone < pair <= 2 * alone


def test_flops_of_a_pair_are_those_of_two_texts_with_an_image_where_streams_join_at_once():
    spec = spec_of("vilt")
    assert row_flops(spec, TOKENS, names.NLVR, images_per_text=2) == 2 * row_flops(spec, TOKENS, names.NLVR)
    assert passing(spec, TOKENS, 1, images_per_text=2)[0].forward == 2 * passing(spec, TOKENS, 1)[0].forward


def config_with(family, **changes):
    config = default_config()
    config.model = hyperparameters(family, "tiny", **changes)
    config.data.image_size = SIZE
    config.tasks.vqa.weight, config.tasks.nlvr.weight = 0.0, 1.0
    return config


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("vilt", r"model\.modalities is 2; with tasks\.nlvr it must be 3"),
        ("meter", r"model\.modalities is 2; with tasks\.nlvr it must be 3"),
        ("uniter", r"model\.token_types is 2; with tasks\.nlvr it must be 3"),
    ],
)
def test_a_model_that_cannot_is_refused(family, message):
    with pytest.raises(UserError, match=message):
        model_spec(config_with(family), 50, 2)


@pytest.mark.parametrize("family", MORE)
def test_a_model_that_can_is_taken(family):
    assert isinstance(FusionModel(model_spec(config_with(family, **MORE[family]), 50, 2)), FusionModel)
