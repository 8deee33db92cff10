"""Every text tower with every image tower in every fusion baseline; those of a family are that family's."""

import itertools
from functools import partial

import jax
import numpy as np
import pytest

from tests.models.test_baselines import flops_agree
from tests.models.test_padding import fill_padding
from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.partitioned import unbox
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.models.families.baselines import NAMES
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters, model_spec
from vlfusion_jax.models.families.towers import IMAGE_TOWERS, REGION_FORMS, TEXT_TOWERS
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.inputs import input_shapes
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.streams import IMAGE, TEXT

HEADS = (names.MLM, names.ITM, names.VQA)
HALVES = {"bert": TEXT, "roberta": TEXT, "vit": IMAGE, "clip_vit": IMAGE}
TOLERANCE = 1e-5
ROWS, TOKENS = 2, 6
# Each tower of a family at least once, in fusions of each kind.
PAIRS = [
    ("late_fusion", "bert", "clip_vit"),
    ("early_fusion", "roberta", "regions_lxmert"),
    ("bottleneck_fusion", "bert", "regions_uniter"),
    ("co_attention", "lstm", "regions_vilbert"),
    ("hierarchical_fusion", "roberta", "vit"),
    ("bilinear_fusion", "embeddings", "regions_uniter"),
]


def spec_of(family: str, text: str, image: str, size: tuple[int, int] = (64, 64), **changes) -> ModelSpec:
    config = default_config()
    config.data.image_size, config.data.question_length = size, 12
    config.model = hyperparameters(family, "tiny", text_tower=text, image_tower=image, **changes)
    return model_spec(config, 50, 7)


def small(family: str, text: str, image: str) -> ModelSpec:
    """Of images of 24 x 36 pixels, which all but convolutional towers read; the fixtures' vocabulary."""
    return spec_of(family, text, image, (24, 36), patch_size=12, region_patch=12)


# To trace a deep one takes long, so every run has each pair of family and text tower with one image tower, in turn.
TURN = itertools.cycle(tower for tower in IMAGE_TOWERS if tower not in ("resnet101", "resnet152"))
DRAWN = [(*pair, next(TURN)) for pair in itertools.product(NAMES, TEXT_TOWERS)]
EVERY = [
    pytest.param(*each, marks=[] if each in DRAWN else pytest.mark.slow)
    for each in itertools.product(NAMES, TEXT_TOWERS, IMAGE_TOWERS)
    if each[1:] != ("roberta", "regions_uniter")
]


@pytest.mark.parametrize(("family", "text", "image"), EVERY)
def test_any_text_tower_goes_with_any_image_tower(family, text, image):
    spec = spec_of(family, text, image)
    shapes = input_shapes(spec.inputs, ROWS, TOKENS)
    output, _ = jax.eval_shape(partial(FusionModel(spec).init_with_output, jax.random.key(0), heads=HEADS), shapes)
    assert {name: x.shape for name, x in output.logits.items()} == {
        names.MLM: (ROWS, 1, 128), names.ITM: (ROWS, 2), names.VQA: (ROWS, 128)
    }  # fmt: skip


def test_a_pair_without_a_type_for_the_regions_is_refused():
    message = "model.image_tower 'regions_uniter' and model.text_tower 'roberta' do not go together"
    with pytest.raises(UserError, match=message):
        spec_of("late_fusion", "roberta", "regions_uniter")


@pytest.mark.parametrize(("family", "text", "image"), PAIRS)
def test_flops_equal_the_count(family, text, image):
    for head in HEADS:
        flops_agree(small(family, text, image), head)
    flops_agree(small(family, text, image), names.VQA, texts=4)


@pytest.mark.parametrize(("family", "text", "image"), PAIRS[:5:2])
def test_padding_changes_nothing(random_model, random_inputs, family, text, image):
    model, params = random_model(small(family, text, image))
    inputs = random_inputs(4)
    longer = inputs | {name: np.pad(inputs[name], ((0, 0), (0, 5))) for name in (names.TEXT, names.TEXT_MASK)}
    apply = jax.jit(partial(model.apply, {"params": params}, heads=HEADS))
    output, padded = apply(inputs), apply(fill_padding(longer, 5))
    for ours, theirs in zip(jax.tree.leaves(padded.logits), jax.tree.leaves(output.logits), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)
    for keep, ours, theirs in (
        (output.text_mask, padded.text[:, :TOKENS], output.text),
        (output.image_mask, padded.image, output.image),
    ):
        np.testing.assert_allclose(ours[keep > 0], theirs[keep > 0], atol=TOLERANCE)


def standalone(name: str) -> ModelSpec:
    """The family of a tower, alone, in the sizes that the baselines' tiny one has."""
    side, family = HALVES[name], {"clip_vit": "clip"}.get(name, name)
    of_baseline = hyperparameters("late_fusion", "tiny")
    prefix = "image_" if family == "clip" else ""
    sizes = {f"{prefix}{key}": of_baseline[f"{side}_{key}"] for key in ("width", "heads", "mlp_width", "layers")}
    if side == IMAGE:
        sizes["patch_size"] = 12
    return FAMILIES[family].spec(hyperparameters(family, "tiny", **sizes), Given(50, 7, 12, (24, 36)))


@pytest.mark.parametrize(("text", "image"), [("bert", "clip_vit"), ("roberta", "vit")])
def test_a_tower_is_that_of_its_family(random_model, random_inputs, text, image):
    inputs = random_inputs(1)
    model, params = random_model(small("gated_fusion", text, image))
    ours = jax.jit(partial(model.apply, capture=True))({"params": params}, inputs)
    for name in (text, image):
        side, alone = HALVES[name], FusionModel(standalone(name))
        shapes = jax.eval_shape(lambda alone=alone: unbox(alone.init(jax.random.key(0), inputs)["params"]))
        # A family of two towers has the other one too, which takes no part in this one's.
        kept = {part: leaves for part, leaves in params.items() if part.startswith(side) and part in shapes}
        wanted = flatten({part: shapes[part] for part in kept})
        assert {path: x.shape for path, x in flatten(kept).items()} == {path: x.shape for path, x in wanted.items()}
        assert {part for part in shapes if part.startswith(side)} <= {*kept, f"{side}_pooler"}
        fresh = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
        theirs = jax.jit(partial(alone.apply, capture=True))({"params": fresh | kept}, inputs)
        keep = np.asarray(inputs[names.TEXT_MASK] if side == TEXT else theirs.image_mask) > 0
        x, y = (np.asarray(each.hidden[f"{side}_layers"][side])[:, keep] for each in (ours, theirs))
        np.testing.assert_allclose(x, y, atol=TOLERANCE, rtol=0)
        np.testing.assert_allclose(ours.embedded[side][keep], theirs.embedded[side][keep], atol=TOLERANCE, rtol=0)


def test_regions_of_a_detector_are_read():
    for image, form in REGION_FORMS.items():
        spec = spec_of("late_fusion", "transformer", image, region_patch=0, regions=5, region_features=9)
        shapes = input_shapes(spec.inputs, ROWS, TOKENS)
        assert spec.input(IMAGE).form == form
        assert shapes[names.REGIONS].shape == (ROWS, 5, 9)
        output, _ = jax.eval_shape(partial(FusionModel(spec).init_with_output, jax.random.key(0), heads=HEADS), shapes)
        assert output.image.shape == (ROWS, 5 + (form == "vilbert"), 32)
