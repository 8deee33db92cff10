"""ViT as Hugging Face's `transformers` stores it."""

from typing import Any

from vlfusion_jax.convert.fields import TRANSFORMER, Fields, pooler_of
from vlfusion_jax.convert.name_map import (
    OLD_BUFFERS,
    VIT_LAYER,
    NameMap,
    linear,
    norm,
    patch_embeddings,
    pre_norm_layers,
)  # fmt: skip
from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given

MODEL_TYPE = "vit"
HEADS = {"ViTModel": (), "ViTForImageClassification": (names.VQA,)}
FIELDS = Fields(
    **TRANSFORMER,
    patch_size="patch_size",
)
REQUIRED = {"qkv_bias": True, "num_channels": 3, "pooler_act": "tanh"}


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """Our hyperparameters from their `config.json`."""
    return FIELDS.ours(config)


of_tensors = pooler_of


def given(config: dict[str, Any], answers: int) -> Given:
    """Sizes that their `config.json` decides."""
    side = config.get("image_size", 224)
    return Given(1, answers, 1, (side, side))


def config_of(model: Any, sizes: Given, architecture: str) -> dict[str, Any]:
    """Their `config.json` from our hyperparameters."""
    return FIELDS.theirs(model) | {"image_size": sizes.image_size[0], "pooler_output_size": model.width}


def name_map(model: Any, sizes: Given, architecture: str) -> NameMap:
    """Keys of `architecture` beside our parameters."""
    base = "" if architecture == "ViTModel" else "vit."
    embeddings, layer = f"{base}embeddings", f"{base}encoder.layer.{{i}}"
    cells = (sizes.image_size[0] // model.patch_size) * (sizes.image_size[1] // model.patch_size)
    entries = [
        *patch_embeddings(
            f"{embeddings}.patch_embeddings.projection", f"{embeddings}.position_embeddings", cells,
            cls=f"{embeddings}.cls_token", ones=1,
        ),
        *pre_norm_layers(layer, "image_layers", "image", model.layers, VIT_LAYER, model.width),
        *norm(f"{base}layernorm", "image_norm/norm_out"),
        *(linear(f"{base}pooler.dense", "image_pooler/projection") if model.pooler else ()),
        *(linear("classifier", "head_vqa/classes", size=sizes.answers) if base else ()),
    ]  # fmt: skip
    return NameMap(tuple(entries), {}, OLD_BUFFERS)
