"""BERT (Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers"), a text tower alone."""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.layers.block import MLP, SELF, BlockSpec, Stage
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.tower import Tower
from vlfusion_jax.models.spec.heads import ClassHead, WordHead
from vlfusion_jax.models.spec.inputs import TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Pool
from vlfusion_jax.models.spec.streams import TEXT

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
        "text_positions": 512,  # rows of the position table
        "position_offset": 0,  # row of a text's first token
        "token_types": 2,
        "pooler": True,  # a vector of the first token, which class heads read
    },
    "tiny": {
        "width": 32,
        "layers": 2,
        "heads": 2,
        "mlp_width": 64,
        "dropout": 0.0,
        "attention_dropout": 0.0,
    },
}


def spec(model: Any, given: Given, word_activation: str = "") -> ModelSpec:
    """The model of `config.model`; `word_activation` is that of the word head where it is not the layers'."""
    text = tower(model, given)
    pooled = (names.VQA, ClassHead(given.answers, given.answer_hidden, pad=True))
    return ModelSpec(
        inputs=(text.input,),
        steps=text.steps,
        pools=(Pool(TEXT, "first", model.width, activation="tanh"),) if model.pooler else (),
        heads=(
            (names.MLM, WordHead(TEXT, word_activation or model.activation, model.norm_epsilon)),
            *((pooled,) if model.pooler else ()),
        ),
        scan=model.scan_layers,
        remat=model.remat,
    )


def tower(model: Any, given: Given) -> Tower:
    """Words, positions and token types, and post-norm layers."""
    epsilon = model.norm_epsilon
    block = BlockSpec(
        model.heads, model.mlp_width, "post", epsilon, model.activation, model.dropout, model.attention_dropout
    )
    return Tower(
        TextInput(
            TEXT, given.vocab, model.width, model.text_positions, model.token_types, model.position_offset, epsilon,
            dropout=model.dropout,
        ),
        Stage("text_layers", (TEXT,), (block,), (SELF, MLP), model.layers),
    )  # fmt: skip
