"""VisualBERT (Li et al. 2019, "VisualBERT: A Simple and Performant Baseline for Vision and Language")."""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.layers.block import MLP, SELF, BlockSpec, Stage
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.regions import REGIONS, region_input
from vlfusion_jax.models.spec.heads import ClassHead, WordHead
from vlfusion_jax.models.spec.inputs import TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Pool
from vlfusion_jax.models.spec.steps import Join, Transform
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
        "text_positions": 512,  # rows of the position tables, the text's and the regions'
        # Rows of the type tables, the text's and the regions': images are 1, of a pair (NLVR2) 0 and 1.
        "token_types": 2,
        **REGIONS,
        "regions": 100,
        "region_features": 512,  # as published for VCR; 2048 for COCO and VQA, 1024 for NLVR2
    },
    "tiny": {
        "width": 32,
        "layers": 2,
        "heads": 2,
        "mlp_width": 64,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "region_patch": 8,
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
            TextInput(TEXT, given.vocab, width, model.text_positions, model.token_types, epsilon=None),
            region_input(
                "visualbert", model, given, width, types=model.token_types, length=model.text_positions
            ),
        ),
        steps=(
            Join(together=True),
            Transform("embedding_norm", JOINT, JOINT, norm_out=epsilon, dropout=model.dropout),
            Stage("fusion", (JOINT,), (block,), (SELF, MLP), model.layers),
        ),
        pools=(Pool(TEXT, "first", width, activation="tanh"),),
        heads=(
            (names.ITM, ClassHead(2)),
            (names.MLM, WordHead(JOINT, model.activation, epsilon)),
            (names.NLVR, ClassHead(2)),
            # Original questions end in a [MASK] before [SEP], which the head reads (their section 4.1).
            (names.VQA, ClassHead(given.answers, read="last_word", pad=True)),
        ),
        scan=model.scan_layers,
        remat=model.remat,
    )  # fmt: skip
