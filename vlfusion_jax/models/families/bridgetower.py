"""BridgeTower (Xu et al. 2023, "BridgeTower: Building Bridges Between Encoders in Vision-Language Representation
Learning").

METER's towers and co-attention layers; each of these reads what the layer before it gave and, through a bridge, what
the next layer of the towers did (section 3.4, equations 9 to 14).
"""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.layers.block import CROSS, MLP, SELF, BlockSpec, Stage
from vlfusion_jax.models.families import meter, pixels
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.meter import FUSED, FUSED_IMAGE, FUSED_TEXT
from vlfusion_jax.models.spec.heads import ContrastiveHead, WordHead
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Combine, Pool
from vlfusion_jax.models.spec.steps import Bridge, Step, Transform
from vlfusion_jax.models.spec.streams import IMAGE, POOLED, TEXT

# Streams of what the towers give a co-attention layer, and the image before it is mapped.
LIFTED_TEXT, LIFTED_IMAGE, _NORMED_IMAGE = "lifted_text", "lifted_image", "normed_image"

SIZES = {
    "base": {
        "width": 768,  # of text and co-attention layers
        "heads": 12,  # of text and co-attention layers
        "mlp_width": 3072,  # of text and co-attention layers
        "activation": "gelu",  # of text and co-attention layers
        "head_activation": "gelu",  # of the word head
        "text_norm_epsilon": 1e-5,  # of text and co-attention layers
        "image_norm_epsilon": 1e-5,
        "norm_epsilon": 1e-5,  # of bridges and word head
        "dropout": 0.1,  # of text and co-attention layers
        "attention_dropout": 0.1,  # of text and co-attention layers
        "layers": 12,  # of each tower
        "cross_layers": 6,  # at most as many
        "text_positions": 514,  # rows of the text's position table; RoBERTa begins at 2
        "image_width": 768,  # CLIP has a head for every 64 channels, and an MLP four times as wide
        "patch_size": 16,
        "modalities": 2,  # text and image; 3 with a second image (NLVR2)
        "shared_transform": True,  # one map from each tower to all co-attention layers, or one to each of them
        "bridge": "add",  # add | scaled_add | interpolate: how a bridge combines
        "tied_words": False,  # whether the word head predicts with the word table
        "contrastive_width": 512,  # of the vectors that are compared
        "log_scale": 2.6592,  # at the start: log of the factor on the products of these vectors
        **pixels.CLIP,
    },
    "tiny": {
        "width": 32,
        "heads": 2,
        "mlp_width": 64,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "layers": 3,
        "cross_layers": 2,
        "image_width": 128,
        "patch_size": 8,
        "contrastive_width": 16,
    },
    # RoBERTa-large and CLIP-L/14 (the paper's section 4.4).
    "large": {
        "width": 1024,
        "heads": 16,
        "mlp_width": 4096,
        "layers": 24,
        "image_width": 1024,
        "patch_size": 14,
    },
}


def spec(model: Any, given: Given) -> ModelSpec:
    """The model of `config.model`."""
    epsilon = model.norm_epsilon
    contrastive = ContrastiveHead(
        tuple(
            (name, Pool(stream, "first", model.contrastive_width))
            for name, stream in ((names.TEXT, TEXT), (names.IMAGE, LIFTED_IMAGE), ("cross", POOLED))
        ),
        scale=model.log_scale,
    )
    words = WordHead(FUSED_TEXT, model.head_activation, epsilon, tied=model.tied_words)
    return ModelSpec(
        inputs=meter.inputs(model, given),
        steps=_steps(model, *meter.blocks(model, model.text_norm_epsilon)),
        pools=meter.pools(model.width),
        combine=Combine("concat"),
        heads=meter.heads(model, given, words, **{names.CONTRASTIVE: contrastive}),
        text=FUSED_TEXT,
        image=FUSED_IMAGE,
        modalities=model.modalities,
        modality_width=model.width,
        scan=model.scan_layers,
        remat=model.remat,
    )


def parts(model: Any) -> list[tuple[str, int, int]]:
    """(Ending of its stages' names, number of its first layer, layers) of each part of a tower: one part below every
    co-attention layer.
    """
    if not 0 < model.cross_layers <= model.layers:
        raise UserError(
            f"model.cross_layers is {model.cross_layers}; it must be between 1 and model.layers {model.layers}."
        )
    first = model.layers - model.cross_layers + 1
    return [("s", 0, first), *((f"_{i}", first + i - 1, 1) for i in range(1, model.cross_layers))]


def _steps(model: Any, text: BlockSpec, image: BlockSpec, cross: BlockSpec) -> tuple[Step, ...]:
    """The towers' first layers and co-attention layer 0; then for each further one a layer of each tower, and bridges.

    The streams of the towers are not what the co-attention layers write: those have their own.
    """
    epsilon, steps = model.norm_epsilon, []
    for i, (ending, _, layers) in enumerate(parts(model)):
        steps += [
            Stage(f"text_layer{ending}", (TEXT,), (text,), (SELF, MLP), layers),
            Stage(f"image_layer{ending}", (IMAGE,), (image,), (SELF, MLP), layers),
            *_lift(model, i),
        ]
        for kind, source, target in (("text", LIFTED_TEXT, FUSED_TEXT), ("image", LIFTED_IMAGE, FUSED_IMAGE)):
            if i:
                steps.append(Bridge(f"{kind}_bridge_{i}", source, target, model.bridge, epsilon))
            else:
                steps.append(Transform(f"{kind}_norm", source, target, norm_out=epsilon))
        steps.append(Stage(f"fusion_{i}", FUSED, (cross,), (SELF, CROSS, MLP), 1, cross_entered=True))
    return tuple(steps)


def _lift(model: Any, i: int) -> tuple[Step, ...]:
    """From the towers to co-attention layer `i`: the image through CLIP's last norm, both to one width, + modality."""
    suffix = "" if model.shared_transform else f"_{i}"
    return (
        Transform("image_post_norm", IMAGE, _NORMED_IMAGE, norm_out=model.image_norm_epsilon),
        Transform(f"text_transform{suffix}", TEXT, LIFTED_TEXT, model.width, modality=0),
        Transform(f"image_transform{suffix}", _NORMED_IMAGE, LIFTED_IMAGE, model.width, modality=1, by_image=True),
    )
