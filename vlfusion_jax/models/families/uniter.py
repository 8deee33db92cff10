"""UNITER (Chen et al. 2020, "UNITER: UNiversal Image-TExt Representation Learning")."""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.layers.block import MLP, SELF, BlockSpec, Stage
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.regions import REGIONS, region_input
from vlfusion_jax.models.spec.heads import ClassHead, RegionHead, WordHead
from vlfusion_jax.models.spec.inputs import TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Pool
from vlfusion_jax.models.spec.steps import Join
from vlfusion_jax.models.spec.streams import JOINT, TEXT

SIZES = {
    "base": {
        "width": 768,
        "layers": 12,
        "heads": 12,
        "mlp_width": 3072,
        "activation": "gelu",
        "norm_epsilon": 1e-12,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "text_positions": 512,  # rows of the text's position table
        "token_types": 2,  # of which the second is the image's; 3 with a second image (NLVR2)
        **REGIONS,
        "regions": 100,
        "region_classes": 1601,  # of the detector, background included
    },
    "large": {"width": 1024, "layers": 24, "heads": 16, "mlp_width": 4096},
    "tiny": {
        "width": 32,
        "layers": 2,
        "heads": 2,
        "mlp_width": 64,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "text_positions": 40,
        "region_patch": 8,
        "region_classes": 16,
    },
}


def spec(model: Any, given: Given) -> ModelSpec:
    """The model of `config.model`."""
    width, epsilon = model.width, model.norm_epsilon
    block = BlockSpec(
        model.heads, model.mlp_width, "post", epsilon, model.activation, model.dropout, model.attention_dropout
    )
    return ModelSpec(
        inputs=(
            TextInput(
                TEXT, given.vocab, width, model.text_positions, model.token_types, epsilon=epsilon,
                dropout=model.dropout,
            ),
            region_input("uniter", model, given, width, epsilon=epsilon, dropout=model.dropout),
        ),
        steps=(Join(), Stage("fusion", (JOINT,), (block,), (SELF, MLP), model.layers)),
        pools=(Pool(TEXT, "first", width, activation="tanh"),),
        heads=(
            (names.ITM, ClassHead(2)),
            (names.MLM, WordHead(TEXT, model.activation, epsilon)),
            (names.NLVR, ClassHead(2, rows=2)),
            (names.REGION, RegionHead((("classes", model.region_classes),), "gelu", epsilon)),
            (
                names.VQA,
                ClassHead(
                    given.answers, given.answer_hidden or 2 * width, norm_first=False, activation="gelu",
                    epsilon=epsilon, pad=True,
                ),
            ),
        ),
        scan=model.scan_layers,
        remat=model.remat,
    )  # fmt: skip
