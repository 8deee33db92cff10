"""Analytic FLOPs against a count of every product in the traced model."""

import math
from functools import partial

import jax
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr
from ml_collections import ConfigDict

from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.masked_regions import with_masked_regions
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.models.flops import part_flops, row_flops
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.inputs import input_shapes

KINDS = ("single_stream", "two_stream", "cross_attention")
IMAGES, TOKENS, PREDICTIONS = 3, 6, 3
# Families and the heads that are counted.
FAMILY_HEADS = {
    "clip": (names.VQA, names.CONTRASTIVE),
    "siglip": (names.ITM, names.CONTRASTIVE),
    "bert": (names.MLM, names.VQA),
    "roberta": (names.MLM,),
    "vit": (names.VQA,),
    "resnet": (names.VQA,),
    "meter": (names.ITM, names.MLM, names.RETRIEVAL, names.VQA),
    "albef": (names.CONTRASTIVE, names.ITM, names.MLM, names.VQA),
    "bridgetower": (names.CONTRASTIVE, names.ITM, names.MLM, names.VQA),
    "uniter": (names.ITM, names.MLM, names.REGION, names.VQA),
    "vilbert": (names.ITM, names.MLM, names.REGION, names.RETRIEVAL, names.VQA),
    "visualbert": (names.ITM, names.MLM, names.NLVR, names.VQA),
    "lxmert": (names.ITM, names.MLM, names.REGION, names.VQA),
}


def count(jaxpr: Jaxpr) -> int:
    """FLOPs of the dot products and convolutions of a program, two per multiply-add, loops unrolled."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            contracted = equation.params["dimension_numbers"][0][0]
            shape = equation.invars[0].aval.shape
            total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(shape[axis] for axis in contracted)
        elif equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape  # height, width, inputs, outputs
            total += 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(kernel[:-1])
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            if isinstance(value, ClosedJaxpr):
                total += times * count(value.jaxpr)
            elif isinstance(value, Jaxpr):
                total += times * count(value)
    return total


def counted(spec, inputs, heads) -> int:
    model = FusionModel(spec)
    variables = jax.eval_shape(partial(model.init, jax.random.key(0), heads=heads), inputs)
    return count(jax.make_jaxpr(partial(model.apply, heads=heads))(variables, inputs).jaxpr)


@pytest.mark.parametrize("head", [names.MLM, names.ITM, names.VQA])
@pytest.mark.parametrize("tokens", ["patch", "conv"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_count(make_spec, random_inputs, kind, tokens, head):
    spec = make_spec(model__family=kind, model__image_tokens=tokens, model__scan_layers=kind != "two_stream")
    expected = counted(spec, random_inputs(0, images=IMAGES, tokens=TOKENS), (head,))
    assert IMAGES * row_flops(spec, TOKENS, head, PREDICTIONS) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_count_where_texts_share_an_image(make_spec, random_inputs, kind):
    spec, texts = make_spec(model__family=kind), 4
    expected = counted(spec, random_inputs(0, images=IMAGES, texts=texts, tokens=TOKENS), (names.VQA,))
    assert IMAGES * texts * row_flops(spec, TOKENS, names.VQA, texts_per_image=texts) == expected


@pytest.mark.parametrize(
    ("family", "head"), [(family, head) for family, heads in FAMILY_HEADS.items() for head in heads]
)
def test_every_family_equals_the_count(family, head):
    spec = FAMILIES[family].spec(hyperparameters(family, "tiny"), Given(50, 7, TOKENS, (24, 32)))
    inputs = input_shapes(spec.inputs, IMAGES, TOKENS)
    expected = counted(spec, inputs, (head,))
    if head == names.CONTRASTIVE:  # the products of a batch's texts and images are not any row's own
        model = FusionModel(spec)
        output, _ = jax.eval_shape(lambda x: model.init_with_output(jax.random.key(0), x, (head,)), inputs)
        expected -= 2 * IMAGES**2 * output.logits[head][names.TEXT].shape[-1]
    assert IMAGES * row_flops(spec, TOKENS, head, predictions=1) == expected


@pytest.mark.parametrize("family", ["single_stream", "vilbert", "cross_attention"])
def test_hidden_cells_equal_the_count(family):
    plain = FAMILIES[family].spec(hyperparameters(family, "tiny"), Given(50, 7, TOKENS, (24, 32)))
    spec = with_masked_regions(plain, ConfigDict({"target": "feature"}))
    inputs = input_shapes(spec.inputs, IMAGES, TOKENS)
    inputs[names.HIDDEN] = jax.ShapeDtypeStruct((IMAGES, PREDICTIONS), "int32")
    assert IMAGES * row_flops(spec, TOKENS, names.MRM, PREDICTIONS) == counted(spec, inputs, (names.MRM,))


@pytest.mark.parametrize(
    ("variant", "head", "target_tokens"),
    [
        ("captioning", names.CAPTION, 5), ("vqa", names.ANSWER, 5), ("vqa", names.VQA, 0), ("vqa", names.VQA, 5),
        ("retrieval", names.ITM, 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("texts", [1, 4])
def test_blip_equals_the_count(variant, head, target_tokens, texts):
    spec = FAMILIES["blip"].spec(hyperparameters("blip", "tiny", variant=variant), Given(50, 7, TOKENS, (30, 45)))
    rows, images = input_shapes(spec.inputs, IMAGES * texts, TOKENS), input_shapes(spec.inputs, IMAGES)
    target = jax.ShapeDtypeStruct((IMAGES * texts, target_tokens), "int32")
    inputs = {name: target if name.startswith(names.TARGET) else x for name, x in rows.items()}
    inputs |= {name: images[name] for name in (names.IMAGE, names.IMAGE_MASK)}
    if not target_tokens:
        inputs = {name: x for name, x in inputs.items() if not name.startswith(names.TARGET)}
    parts = part_flops(spec, TOKENS, (head,), texts_per_image=texts, target_tokens=target_tokens)
    assert round(IMAGES * texts * sum(parts.values())) == counted(spec, inputs, (head,))


@pytest.mark.parametrize(("reads", "head"), [("image", names.CAPTION), ("question", names.ANSWER)])
def test_a_decoder_of_albef_equals_the_count(reads, head):
    model = hyperparameters("albef", "tiny", decoder_layers=2, decoder_reads=reads)
    spec = FAMILIES["albef"].spec(model, Given(50, 7, TOKENS, (24, 32)))
    inputs = input_shapes(spec.inputs, IMAGES, TOKENS)
    parts = part_flops(spec, TOKENS, (head,), target_tokens=TOKENS)
    assert round(IMAGES * sum(parts.values())) == counted(spec, inputs, (head,))


@pytest.mark.parametrize("family", ["clip", "siglip", "meter", "albef", "bridgetower"])
def test_a_tower_s_image_is_pooled_once_for_all_its_texts(family):
    spec = FAMILIES[family].spec(hyperparameters(family, "tiny"), Given(50, 7, TOKENS, (24, 32)))
    texts, shapes = 4, input_shapes(spec.inputs, IMAGES, TOKENS)
    several = input_shapes(spec.inputs, IMAGES * texts, TOKENS)
    inputs = several | {name: shapes[name] for name in (names.IMAGE, names.IMAGE_MASK)}
    expected = counted(spec, inputs, (names.VQA,))
    assert IMAGES * texts * row_flops(spec, TOKENS, names.VQA, texts_per_image=texts) == expected


def test_the_count_is_right_for_known_programs():
    x = jax.ShapeDtypeStruct((5, 7), "float32")
    repeated = jax.make_jaxpr(lambda x: jax.lax.scan(lambda c, _: (c @ (x.T @ x), None), x, length=3)[0])(x)
    assert count(repeated.jaxpr) == 3 * (2 * 5 * 7 * 7 + 2 * 7 * 5 * 7)
