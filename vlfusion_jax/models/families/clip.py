"""CLIP (Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision")."""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.layers.block import MLP, SELF, BlockSpec, Stage
from vlfusion_jax.models.families import pixels
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.tower import Tower
from vlfusion_jax.models.spec.heads import ClassHead, ContrastiveHead
from vlfusion_jax.models.spec.inputs import ImageInput, TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Combine, Pool
from vlfusion_jax.models.spec.steps import Transform
from vlfusion_jax.models.spec.streams import IMAGE, TEXT

SIZES = {
    "base": {
        "text_width": 512,
        "text_layers": 12,
        "text_heads": 8,
        "text_mlp_width": 2048,
        "text_activation": "quick_gelu",
        "text_norm_epsilon": 1e-5,
        "text_attention_dropout": 0.0,
        "text_positions": 77,  # rows of the text's position table
        "image_width": 768,
        "image_layers": 12,
        "image_heads": 12,
        "image_mlp_width": 3072,
        "image_activation": "quick_gelu",
        "image_norm_epsilon": 1e-5,
        "image_attention_dropout": 0.0,
        "patch_size": 32,
        "projection": 512,  # width of the vectors that are compared
        **pixels.CLIP,
    },
    "base16": {"patch_size": 16},
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
        "projection": 32,
    },
}


def spec(model: Any, given: Given) -> ModelSpec:
    """The model of `config.model`."""
    text = Pool(TEXT, "last", model.projection, bias=False)  # the end-of-text token is the last of a text
    image = Pool(IMAGE, "first", model.projection, bias=False)
    return ModelSpec(
        inputs=(
            TextInput(TEXT, given.vocab, model.text_width, model.text_positions, epsilon=None),
            tower(model, given).input,
        ),
        steps=towers(model, causal=True),
        pools=(Pool(TEXT, "last"), Pool(IMAGE, "first")),
        combine=Combine("concat"),
        heads=(
            (names.CONTRASTIVE, ContrastiveHead(((TEXT, text), (IMAGE, image)))),
            *late_heads(model.text_width + model.image_width, given),
        ),
        scan=model.scan_layers,
        remat=model.remat,
    )  # fmt: skip


def tower(model: Any, given: Given) -> Tower:
    """CLIP's ViT: patches without a bias behind a class token, a norm, pre-norm layers, and the norm behind them."""
    layers, norm = _layers(model, IMAGE)
    return Tower(
        ImageInput(
            "patch", given.image_size, model.image_width, model.patch_size, patch_bias=False, cls=True,
            epsilon=model.image_norm_epsilon, mean=model.pixel_mean, std=model.pixel_std,
        ),
        layers,
        (norm,),
    )  # fmt: skip


def towers(model: Any, causal: bool) -> tuple[Stage | Transform, ...]:
    """Pre-norm layers over the text and over the image, which never meet, and the norm behind each."""
    return _layers(model, TEXT, causal) + _layers(model, IMAGE)


def _layers(model: Any, stream: str, causal: bool = False) -> tuple[Stage, Transform]:
    epsilon = model[f"{stream}_norm_epsilon"]
    block = BlockSpec(
        model[f"{stream}_heads"], model[f"{stream}_mlp_width"], "pre", epsilon, model[f"{stream}_activation"],
        attention_dropout=model[f"{stream}_attention_dropout"],
    )  # fmt: skip
    return (
        Stage(f"{stream}_layers", (stream,), (block,), (SELF, MLP), model[f"{stream}_layers"], causal=causal),
        Transform(f"{stream}_norm", stream, stream, norm_out=epsilon),
    )


def late_heads(width: int, given: Given) -> tuple[tuple[str, ClassHead], ...]:
    """Heads over both vectors end to end, `width` in all: late fusion. Their hidden part is where the two meet."""
    hidden = given.answer_hidden or width
    return (names.ITM, ClassHead(2, hidden)), (names.VQA, ClassHead(given.answers, hidden, pad=True))
