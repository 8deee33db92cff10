"""SigLIP as Hugging Face's `transformers` stores it."""

from typing import Any

from vlfusion_jax.convert.families.clip import TOWER_FIELDS, cells, tower_config, tower_entries, tower_sizes
from vlfusion_jax.convert.fields import Fields
from vlfusion_jax.convert.name_map import (
    OLD_BUFFERS,
    Entry,
    NameMap,
    fused_attention,
    linear,
    mlp,
    norm,
    patch_embeddings,
)  # fmt: skip
from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given

MODEL_TYPE = "siglip"
HEADS = {"SiglipModel": (names.CONTRASTIVE,)}
FIELDS = Fields(**TOWER_FIELDS)
REQUIRED: dict[str, Any] = {}

hyperparameters = FIELDS.ours


def given(config: dict[str, Any], answers: int) -> Given:
    """Sizes that their `config.json` decides."""
    return tower_sizes(config, answers, vocab=32000, text_length=64)


def config_of(model: Any, sizes: Given, architecture: str) -> dict[str, Any]:
    """Their `config.json` from our hyperparameters."""
    config = tower_config(FIELDS.theirs(model), sizes)
    config["text_config"] |= {"projection_size": model.image_width}
    return config


def name_map(model: Any, sizes: Given, architecture: str) -> NameMap:
    """Keys of `architecture` beside our parameters."""
    embeddings, head, pooler = "vision_model.embeddings", "vision_model.head", "image_pooler"
    in_proj = (f"{head}.attention.in_proj_weight", f"{head}.attention.in_proj_bias")
    entries = [
        *tower_entries(model, sizes),
        *patch_embeddings(
            f"{embeddings}.patch_embedding", f"{embeddings}.position_embedding.weight", cells(model, sizes)
        ),
        *linear("text_model.head", "text_pooler/projection"),
        Entry(f"{head}.probe", f"{pooler}/probe", ones=2),
        *fused_attention(*in_proj, f"{head}.attention.out_proj", f"{pooler}/attention", model.image_width),
        *norm(f"{head}.layernorm", f"{pooler}/norm"),
        *mlp(f"{head}.mlp.fc1", f"{head}.mlp.fc2", f"{pooler}/mlp"),
        Entry("logit_scale", "head_contrastive/log_scale", ones=1),
        Entry("logit_bias", "head_contrastive/bias", ones=1),
    ]
    return NameMap(tuple(entries), {}, OLD_BUFFERS)
