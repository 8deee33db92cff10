"""SigLIP (Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training")."""

import math
from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.models.families import pixels
from vlfusion_jax.models.families.clip import late_heads, towers
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.spec.heads import ContrastiveHead
from vlfusion_jax.models.spec.inputs import ImageInput, TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Combine, Pool
from vlfusion_jax.models.spec.streams import IMAGE, TEXT, pooled_of

SIZES = {
    "base": {
        "text_width": 768,
        "text_layers": 12,
        "text_heads": 12,
        "text_mlp_width": 3072,
        "text_activation": "gelu_tanh",
        "text_norm_epsilon": 1e-6,
        "text_attention_dropout": 0.0,
        "text_positions": 64,  # rows of the text's position table
        "fill_texts": True,  # the last token is repeated up to the length of texts, and counts as the others do
        "image_width": 768,  # also of the vectors that are compared
        "image_layers": 12,
        "image_heads": 12,
        "image_mlp_width": 3072,
        "image_activation": "gelu_tanh",
        "image_norm_epsilon": 1e-6,
        "image_attention_dropout": 0.0,
        "patch_size": 16,
        **pixels.SYMMETRIC,
    },
    "tiny": {
        "text_width": 32,
        "text_layers": 2,
        "text_heads": 2,
        "text_mlp_width": 64,
        "image_width": 48,
        "image_layers": 2,
        "image_heads": 4,
        "image_mlp_width": 96,
        "patch_size": 8,
    },
}


def spec(model: Any, given: Given) -> ModelSpec:
    """The model of `config.model`.

    The released models were trained on texts filled up to 64 tokens that all count: with `fill_texts` their mask is
    ones, and the last token is that of the last place.
    """
    width = model.image_width
    image = Pool(
        IMAGE, "map", heads=model.image_heads, mlp_width=model.image_mlp_width, epsilon=model.image_norm_epsilon,
        mlp_activation=model.image_activation,
    )  # fmt: skip
    compared = tuple((stream, Pool(pooled_of(stream))) for stream in (TEXT, IMAGE))
    return ModelSpec(
        inputs=(
            TextInput(TEXT, given.vocab, model.text_width, model.text_positions, epsilon=None),
            ImageInput(
                "patch", given.image_size, width, model.patch_size, mean=model.pixel_mean, std=model.pixel_std
            ),
        ),
        steps=towers(model, causal=False),
        pools=(Pool(TEXT, "last", width), image),
        combine=Combine("concat"),
        heads=(
            # The temperature and bias that training starts from (section 3.2).
            (names.CONTRASTIVE, ContrastiveHead(compared, scale=math.log(10), bias=-10.0)),
            *late_heads(2 * width, given),
        ),
        scan=model.scan_layers,
        remat=model.remat,
    )  # fmt: skip
