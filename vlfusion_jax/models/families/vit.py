"""ViT (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words"), an image tower alone."""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.layers.block import MLP, SELF, BlockSpec, Stage
from vlfusion_jax.models.families import pixels
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.tower import Tower
from vlfusion_jax.models.spec.heads import ClassHead
from vlfusion_jax.models.spec.inputs import ImageInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Pool
from vlfusion_jax.models.spec.steps import Transform
from vlfusion_jax.models.spec.streams import IMAGE

SIZES = {
    "base": {
        "width": 768,
        "layers": 12,
        "heads": 12,
        "mlp_width": 3072,
        "activation": "gelu",
        "norm_epsilon": 1e-12,  # as Hugging Face has it; 1e-6 in the original
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "patch_size": 16,
        "pooler": True,  # whether class heads read a projection of the class token, or the token itself
        **pixels.SYMMETRIC,
    },
    "tiny": {
        "width": 32,
        "layers": 2,
        "heads": 2,
        "mlp_width": 64,
        "patch_size": 8,
    },
}


def spec(model: Any, given: Given) -> ModelSpec:
    """The model of `config.model`."""
    image = tower(model, given)
    return ModelSpec(
        inputs=(image.input,),
        steps=image.steps,
        pools=(Pool(IMAGE, "first", model.width, activation="tanh") if model.pooler else Pool(IMAGE),),
        heads=((names.VQA, ClassHead(given.answers, given.answer_hidden, pad=True)),),
        scan=model.scan_layers,
        remat=model.remat,
    )


def tower(model: Any, given: Given) -> Tower:
    """Patches behind a class token, pre-norm layers, and the norm behind them."""
    epsilon = model.norm_epsilon
    block = BlockSpec(
        model.heads, model.mlp_width, "pre", epsilon, model.activation, model.dropout, model.attention_dropout
    )
    return Tower(
        ImageInput(
            "patch", given.image_size, model.width, model.patch_size, cls=True, dropout=model.dropout,
            mean=model.pixel_mean, std=model.pixel_std,
        ),
        Stage("image_layers", (IMAGE,), (block,), (SELF, MLP), model.layers),
        (Transform("image_norm", IMAGE, IMAGE, norm_out=epsilon),),
    )  # fmt: skip
