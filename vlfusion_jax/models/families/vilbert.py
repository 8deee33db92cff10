"""ViLBERT (Lu et al. 2019, "ViLBERT: Pretraining Task-Agnostic Visiolinguistic Representations …").

The answer heads are those of Lu et al. 2020, "12-in-1".
"""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.layers.block import CROSS, MLP, SELF, BlockSpec, Stage
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.regions import REGIONS, region_input
from vlfusion_jax.models.spec.heads import ClassHead, RegionHead, WordHead
from vlfusion_jax.models.spec.inputs import TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Combine, Pool
from vlfusion_jax.models.spec.streams import IMAGE, TEXT

SIZES = {
    "base": {
        "text_width": 768,
        "text_heads": 12,
        "text_mlp_width": 3072,
        "text_layers": 6,  # of the text alone, before the fusion
        "image_width": 1024,
        "image_heads": 8,
        "image_mlp_width": 1024,
        "cross_width": 1024,  # of all heads of a co-attention together, and of the pooled vectors
        "cross_heads": 8,
        "cross_layers": 6,  # a co-attention, then a layer of each stream's own
        "activation": "gelu",
        "image_activation": "gelu",
        "norm_epsilon": 1e-12,
        "dropout": 0.1,
        "attention_dropout": 0.1,
        "text_positions": 512,  # rows of the text's position table
        "token_types": 2,
        **REGIONS,
        "regions": 100,
        "region_classes": 1601,  # of the detector, background included
    },
    "tiny": {
        "text_width": 32,
        "text_heads": 2,
        "text_mlp_width": 64,
        "text_layers": 1,
        "image_width": 48,
        "image_heads": 4,
        "image_mlp_width": 48,
        "cross_width": 48,
        "cross_heads": 4,
        "cross_layers": 2,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "text_positions": 40,
        "region_patch": 8,
        "region_classes": 16,
    },
}


def spec(model: Any, given: Given) -> ModelSpec:
    """The model of `config.model`."""
    epsilon, dropout = model.norm_epsilon, model.dropout
    cross = {"cross_heads": model.cross_heads, "cross_width": model.cross_width}
    text = BlockSpec(
        model.text_heads, model.text_mlp_width, "post", epsilon, model.activation, dropout, model.attention_dropout,
        **cross,
    )  # fmt: skip
    image = BlockSpec(
        model.image_heads, model.image_mlp_width, "post", epsilon, model.image_activation, dropout,
        model.attention_dropout, **cross,
    )  # fmt: skip
    hidden = 2 * model.cross_width
    answer = {"norm_first": False, "activation": "gelu", "epsilon": epsilon}
    stages = (
        Stage("text_layers", (TEXT,), (text,), (SELF, MLP), model.text_layers),
        Stage("fusion", (TEXT, IMAGE), (text, image), (CROSS, MLP, SELF, MLP), model.cross_layers),
    )
    return ModelSpec(
        inputs=(
            TextInput(
                TEXT, given.vocab, model.text_width, model.text_positions, model.token_types, epsilon=epsilon,
                dropout=dropout,
            ),
            region_input("vilbert", model, given, model.image_width, epsilon=epsilon, dropout=dropout),
        ),
        steps=tuple(stage for stage in stages if stage.layers),
        pools=tuple(Pool(stream, "first", model.cross_width, activation="relu") for stream in (TEXT, IMAGE)),
        combine=Combine("product"),
        heads=(
            (names.ITM, ClassHead(2)),
            (names.MLM, WordHead(TEXT, model.activation, epsilon)),
            (names.NLVR, ClassHead(2, hidden, rows=2, **answer)),
            (names.REGION, RegionHead((("classes", model.region_classes),), model.activation, epsilon)),
            (names.RETRIEVAL, ClassHead(1)),
            (names.VQA, ClassHead(given.answers, given.answer_hidden or hidden, pad=True, **answer)),
        ),
        scan=model.scan_layers,
        remat=model.remat,
    )  # fmt: skip
