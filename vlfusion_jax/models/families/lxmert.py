"""LXMERT (Tan and Bansal 2019, "LXMERT: Learning Cross-Modality Encoder Representations from Transformers")."""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.layers.block import CROSS, MLP, SELF, BlockSpec, Stage
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.regions import REGIONS, region_input
from vlfusion_jax.models.spec.heads import ClassHead, RegionHead, WordHead
from vlfusion_jax.models.spec.inputs import TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Pool
from vlfusion_jax.models.spec.streams import IMAGE, TEXT

SIZES = {
    "base": {
        "width": 768,
        "text_layers": 9,
        "image_layers": 5,
        "cross_layers": 5,
        "heads": 12,
        "mlp_width": 3072,
        "activation": "gelu",
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "text_positions": 512,  # rows of the text's position table
        "token_types": 2,
        **REGIONS,
        "objects": 1600,  # classes of the head that names a region's object
        "attributes": 400,  # classes of the head that names a region's attribute
    },
    "tiny": {
        "width": 32,
        "text_layers": 2,
        "image_layers": 1,
        "cross_layers": 2,
        "heads": 2,
        "mlp_width": 64,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "region_patch": 8,
        "objects": 16,
        "attributes": 4,
    },
}

_EPSILON = 1e-12  # of every layer norm


def spec(model: Any, given: Given) -> ModelSpec:
    """The model of `config.model`."""
    width = model.width
    block = BlockSpec(
        model.heads, model.mlp_width, "post", _EPSILON, model.activation, model.dropout, model.attention_dropout
    )
    regions = region_input("lxmert", model, given, width, epsilon=_EPSILON, dropout=model.dropout)
    predicted = (("obj", model.objects), ("attr", model.attributes), ("feat", regions.features))
    answer = {"norm_first": False, "activation": "gelu", "epsilon": _EPSILON}
    stages = (
        Stage("text_layers", (TEXT,), (block,), (SELF, MLP), model.text_layers),
        Stage("image_layers", (IMAGE,), (block,), (SELF, MLP), model.image_layers),
        # One attention serves both directions (their section 2.2 shows two; the published code has one).
        Stage("fusion", (TEXT, IMAGE), (block,), (CROSS, SELF, MLP), model.cross_layers, tied=(CROSS,)),
    )
    return ModelSpec(
        inputs=(
            TextInput(
                TEXT, given.vocab, width, model.text_positions, model.token_types,
                epsilon=_EPSILON, dropout=model.dropout, fixed_row=0,
            ),
            regions,
        ),
        steps=tuple(stage for stage in stages if stage.layers),
        pools=(Pool(TEXT, "first", width, activation="tanh"),),
        heads=(
            (names.ITM, ClassHead(2)),
            (names.MLM, WordHead(TEXT, model.activation, _EPSILON)),
            (names.NLVR, ClassHead(2, 2 * width, rows=2, **answer)),
            (names.REGION, RegionHead(predicted, model.activation, _EPSILON)),
            (names.VQA, ClassHead(given.answers, given.answer_hidden or 2 * width, pad=True, **answer)),
        ),
        scan=model.scan_layers,
        remat=model.remat,
    )  # fmt: skip
