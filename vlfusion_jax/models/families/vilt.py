"""ViLT (Kim et al. 2021, "ViLT: Vision-and-Language Transformer Without Convolution or Region Supervision")."""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.layers.block import MLP, SELF, BlockSpec, Stage
from vlfusion_jax.models.families import pixels
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.spec.heads import ClassHead, WordHead
from vlfusion_jax.models.spec.inputs import ImageInput, TextInput
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
        "norm_epsilon": 1e-12,  # as Hugging Face has it; 1e-6 in the original's blocks
        "dropout": 0.1,
        "attention_dropout": 0.0,  # the original's drop_rate is not that of attention
        "patch_size": 32,
        "grid": (12, 12),  # rows and columns of the position table
        "text_positions": 40,  # rows of the text's position table
        "token_types": 2,
        "modalities": 2,  # text and image; 3 with a second image (NLVR2)
        "max_image_tokens": 240,  # patches kept of an image: 384 x 640 pixels have so many
        "prefix_lm": False,  # whether the same layers also write captions, the image being the prefix
        "tied_words": True,  # whether the word head predicts with the word table
        **pixels.SYMMETRIC,
    },
    "tiny": {
        "width": 32,
        "layers": 2,
        "heads": 2,
        "mlp_width": 64,
        "dropout": 0.0,
        "patch_size": 8,
        "grid": (4, 4),
    },
}


def spec(model: Any, given: Given) -> ModelSpec:
    """The model of `config.model`."""
    width, epsilon = model.width, model.norm_epsilon
    block = BlockSpec(
        model.heads, model.mlp_width, "pre", epsilon, model.activation, model.dropout, model.attention_dropout
    )
    answer = {"norm_first": True, "activation": "gelu", "epsilon": 1e-5}
    return ModelSpec(
        inputs=(
            TextInput(
                TEXT, given.vocab, width, model.text_positions, model.token_types,
                epsilon=epsilon, modality=0, dropout=model.dropout,
            ),
            ImageInput(
                "patch", given.image_size, width, model.patch_size, cls=True, positions="interpolated",
                grid=model.grid, max_tokens=model.max_image_tokens, modality=1, dropout=model.dropout,
                mean=model.pixel_mean, std=model.pixel_std,
            ),
        ),
        steps=(
            Join(),
            Stage("fusion", (JOINT,), (block,), (SELF, MLP), model.layers, ordered=model.prefix_lm),
            Transform("norm", JOINT, JOINT, norm_out=epsilon),
        ),
        pools=(Pool(TEXT, "first", width, activation="tanh"),),
        heads=(
            *(((names.CAPTION, WordHead(TEXT, model.activation, epsilon, everywhere=True)),) * model.prefix_lm),
            (names.ITM, ClassHead(2)),
            (names.MLM, WordHead(TEXT, model.activation, epsilon, tied=model.tied_words)),
            (names.NLVR, ClassHead(2, 2 * width, rows=2, **answer)),
            (names.RETRIEVAL, ClassHead(1)),
            (names.VQA, ClassHead(given.answers, given.answer_hidden or 2 * width, pad=True, **answer)),
        ),
        modalities=model.modalities,
        modality_width=width,
        scan=model.scan_layers,
        remat=model.remat,
    )  # fmt: skip
