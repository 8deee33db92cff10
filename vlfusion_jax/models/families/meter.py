"""METER (Dou et al. 2022, "An Empirical Study of Training End-to-End Vision-and-Language Transformers").

RoBERTa on the text, CLIP's ViT without its last layer on the image, each mapped to the width of six co-attention layers
(section 3.1, figure 1b), as the authors' code has them: a layer attends to what the other stream was when it entered
that layer.
"""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.layers.block import CROSS, MLP, SELF, BlockSpec, Stage
from vlfusion_jax.models.families import pixels
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.spec.heads import ClassHead, Head, WordHead
from vlfusion_jax.models.spec.inputs import ImageInput, Input, TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Combine, Pool
from vlfusion_jax.models.spec.steps import Transform
from vlfusion_jax.models.spec.streams import IMAGE, TEXT

FUSED = FUSED_TEXT, FUSED_IMAGE = "fused_text", "fused_image"  # streams of the co-attention layers

SIZES = {
    "base": {
        "width": 768,  # of text and co-attention layers
        "heads": 12,  # of text and co-attention layers
        "mlp_width": 3072,  # of text and co-attention layers
        "activation": "gelu",  # of text and co-attention layers, and of the word head
        "text_norm_epsilon": 1e-5,
        "image_norm_epsilon": 1e-5,
        "cross_norm_epsilon": 1e-12,  # of co-attention layers and word head
        "dropout": 0.1,  # of text and co-attention layers
        "attention_dropout": 0.1,  # of text and co-attention layers
        "text_layers": 12,
        "image_layers": 11,  # of CLIP's 12
        "cross_layers": 6,
        "text_positions": 514,  # rows of the text's position table; RoBERTa begins at 2
        "image_width": 768,  # CLIP has a head for every 64 channels, and an MLP four times as wide
        "patch_size": 16,
        "modalities": 2,  # text and image; 3 with a second image (NLVR2)
        **pixels.CLIP,
    },
    "tiny": {
        "width": 32,
        "heads": 2,
        "mlp_width": 64,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "text_layers": 2,
        "image_layers": 2,
        "cross_layers": 2,
        "image_width": 128,
        "patch_size": 8,
    },
}

_CLIP_HEAD_DIM, _CLIP_MLP_RATIO = 64, 4


def spec(model: Any, given: Given) -> ModelSpec:
    """The model of `config.model`."""
    text, image, cross = blocks(model, model.cross_norm_epsilon)
    image_epsilon = model.image_norm_epsilon
    return ModelSpec(
        inputs=inputs(model, given),
        steps=(
            Stage("text_layers", (TEXT,), (text,), (SELF, MLP), model.text_layers),
            Stage("image_layers", (IMAGE,), (image,), (SELF, MLP), model.image_layers),
            Transform("text_transform", TEXT, FUSED_TEXT, model.width, modality=0),
            Transform(
                "image_transform", IMAGE, FUSED_IMAGE, model.width, norm_in=image_epsilon, modality=1, by_image=True
            ),
            Stage("fusion", FUSED, (cross,), (SELF, CROSS, MLP), model.cross_layers, cross_entered=True),
        ),
        pools=pools(model.width),
        combine=Combine("concat"),
        heads=heads(model, given, WordHead(FUSED_TEXT, model.activation, model.cross_norm_epsilon, tied=False)),
        text=FUSED_TEXT,
        image=FUSED_IMAGE,
        modalities=model.modalities,
        modality_width=model.width,
        scan=model.scan_layers,
        remat=model.remat,
    )  # fmt: skip


def inputs(model: Any, given: Given) -> tuple[Input, ...]:
    """What RoBERTa and CLIP read."""
    return (
        TextInput(
            TEXT, given.vocab, model.width, model.text_positions, types=1, position_offset=2,
            epsilon=model.text_norm_epsilon, dropout=model.dropout,
        ),
        ImageInput(
            "patch", given.image_size, model.image_width, model.patch_size, patch_bias=False, cls=True,
            epsilon=model.image_norm_epsilon,
            mean=model.pixel_mean, std=model.pixel_std,
        ),
    )  # fmt: skip


def blocks(model: Any, cross_epsilon: float) -> tuple[BlockSpec, BlockSpec, BlockSpec]:
    """Layers of text, image and co-attention."""
    if model.image_width % _CLIP_HEAD_DIM:
        raise UserError(
            f"model.image_width {model.image_width} does not divide by {_CLIP_HEAD_DIM}, the channels of a head."
        )
    image_heads, image_mlp = model.image_width // _CLIP_HEAD_DIM, _CLIP_MLP_RATIO * model.image_width
    text, cross = (
        BlockSpec(
            model.heads, model.mlp_width, "post", epsilon, model.activation, model.dropout, model.attention_dropout
        )
        for epsilon in (model.text_norm_epsilon, cross_epsilon)
    )
    return text, BlockSpec(image_heads, image_mlp, "pre", model.image_norm_epsilon, "quick_gelu"), cross


def pools(width: int) -> tuple[Pool, ...]:
    """A vector of each fused stream."""
    return tuple(Pool(stream, "first", width, activation="tanh") for stream in FUSED)


def heads(model: Any, given: Given, words: WordHead, **more: Head) -> tuple[tuple[str, Head], ...]:
    """Heads on the two vectors, with `words` and `more` among them."""
    hidden = 2 * model.width
    every = more | {
        names.ITM: ClassHead(2),
        names.MLM: words,
        names.NLVR: ClassHead(2, hidden, rows=2),
        names.RETRIEVAL: ClassHead(1),
        names.VQA: ClassHead(given.answers, given.answer_hidden or hidden, pad=True),
    }
    return tuple(sorted(every.items()))
