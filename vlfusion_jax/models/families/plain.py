"""Our own small models: text and linear patches or a convolutional stem, met in one of three ways.

`single_stream`: one sequence, as in ViLT (Kim et al. 2021); `two_stream`: co-attention, as in LXMERT (Tan and Bansal
2019); `cross_attention`: text reads the image and not the other way, as in ALBEF (Li et al. 2021), so that an image is
encoded once for all its texts.
"""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.layers.block import CROSS, MLP, SELF, BlockSpec, Stage
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.spec.heads import ClassHead, WordHead
from vlfusion_jax.models.spec.inputs import ImageInput, TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Pool
from vlfusion_jax.models.spec.steps import Join, Transform
from vlfusion_jax.models.spec.streams import IMAGE, JOINT, TEXT

SIZES = {
    "base": {
        "width": 128,  # channels of the token stream
        "heads": 4,  # attention heads; divides width
        "mlp_width": 512,  # hidden channels of the MLP
        "layers": 4,  # single_stream: layers of the one stack
        "text_layers": 2,  # two_stream, cross_attention: text-only layers before the fusion
        "image_layers": 1,  # two_stream, cross_attention: image-only layers before the fusion
        "cross_layers": 2,  # two_stream, cross_attention: fusion layers
        "prefix_lm": False,  # single_stream: whether its layers also write captions, the image being the prefix
        "norm": "pre",  # pre | post: layer norm before the sub-layer, or after its residual sum
        "norm_epsilon": 1e-6,  # added to the variance
        "activation": "gelu",  # key of ops.activations
        "dropout": 0.0,  # probability, on embeddings and sub-layer outputs
        "attention_dropout": 0.0,  # probability, on attention weights
        "image_tokens": "patch",  # patch: linear patches | conv: a small convolutional stem
        "patch_size": 15,  # patch: pixels along each side; divides the image size
        "conv_channels": (32, 64, 96, 128),  # conv: one 3x3 convolution of stride 2 each
    },
    "tiny": {
        "width": 32,
        "heads": 2,
        "mlp_width": 64,
        "layers": 2,
        "text_layers": 1,
        "cross_layers": 1,
        "patch_size": 8,
        "conv_channels": (8, 16, 32),
    },
}


def spec(model: Any, given: Given) -> ModelSpec:
    """The model of `config.model`.

    Raises:
      UserError: `prefix_lm` of a family that has no layers over text and image together.
    """
    if model.prefix_lm and model.family != "single_stream":
        raise UserError(f"model.prefix_lm goes with family single_stream or vilt, not with {model.family!r}.")
    epsilon = model.norm_epsilon
    block = BlockSpec(
        model.heads, model.mlp_width, model.norm, epsilon, model.activation, model.dropout, model.attention_dropout
    )
    steps, ends = _stages(model, (block,))
    if model.norm == "pre":
        steps += tuple(Transform(f"{stream}_norm", stream, stream, norm_out=epsilon) for stream in ends)
    hidden = given.answer_hidden or 2 * model.width
    return ModelSpec(
        inputs=(
            TextInput(
                TEXT, given.vocab, model.width, given.text_length, epsilon=epsilon, modality=0, dropout=model.dropout
            ),
            ImageInput(
                model.image_tokens, given.image_size, model.width, model.patch_size, channels=model.conv_channels,
                positions="sincos", epsilon=epsilon, modality=1, dropout=model.dropout,
            ),
        ),
        steps=steps,
        pools=(Pool(TEXT, "first", model.width, activation="tanh"),),
        heads=(
            *(((names.CAPTION, WordHead(TEXT, model.activation, epsilon, everywhere=True)),) * model.prefix_lm),
            (names.ITM, ClassHead(2)),
            (names.MLM, WordHead(TEXT, model.activation, epsilon)),
            (names.VQA, ClassHead(given.answers, hidden, activation=model.activation, epsilon=epsilon, pad=True)),
        ),
        modalities=2,
        modality_width=model.width,
        scan=model.scan_layers,
        remat=model.remat,
    )  # fmt: skip


def _stages(model: Any, blocks: tuple[BlockSpec, ...]) -> tuple[tuple, tuple[str, ...]]:
    """Steps, and the streams they end in."""
    if model.family == "single_stream":
        return (Join(), Stage("fusion", (JOINT,), blocks, (SELF, MLP), model.layers, ordered=model.prefix_lm)), (JOINT,)
    text = Stage("text_layers", (TEXT,), blocks, (SELF, MLP), model.text_layers)
    image = Stage("image_layers", (IMAGE,), blocks, (SELF, MLP), model.image_layers)
    if model.family == "two_stream":
        fusion = Stage("fusion", (TEXT, IMAGE), blocks, (CROSS, SELF, MLP), model.cross_layers)
    else:
        fusion = Stage("fusion", (TEXT,), blocks, (SELF, CROSS, MLP), model.cross_layers, context=(IMAGE,))
    return tuple(stage for stage in (text, image, fusion) if stage.layers), (TEXT, IMAGE)
