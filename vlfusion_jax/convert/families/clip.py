"""CLIP as Hugging Face's `transformers` stores it."""

from typing import Any

from vlfusion_jax.convert.fields import Fields
from vlfusion_jax.convert.name_map import (
    CLIP_LAYER,
    LINEAR,
    OLD_BUFFERS,
    TABLE,
    Entry,
    NameMap,
    norm,
    patch_embeddings,
    pre_norm_layers,
)  # fmt: skip
from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given

MODEL_TYPE = "clip"
HEADS = {"CLIPModel": (names.CONTRASTIVE,)}
# Of both towers, in sections `text_config` and `vision_config`; SigLIP's are the same.
TOWER_FIELDS = {
    "text_width": "text_config.hidden_size",
    "text_layers": "text_config.num_hidden_layers",
    "text_heads": "text_config.num_attention_heads",
    "text_mlp_width": "text_config.intermediate_size",
    "text_activation": "text_config.hidden_act",
    "text_norm_epsilon": "text_config.layer_norm_eps",
    "text_attention_dropout": "text_config.attention_dropout",
    "text_positions": "text_config.max_position_embeddings",
    "image_width": "vision_config.hidden_size",
    "image_layers": "vision_config.num_hidden_layers",
    "image_heads": "vision_config.num_attention_heads",
    "image_mlp_width": "vision_config.intermediate_size",
    "image_activation": "vision_config.hidden_act",
    "image_norm_epsilon": "vision_config.layer_norm_eps",
    "image_attention_dropout": "vision_config.attention_dropout",
    "patch_size": "vision_config.patch_size",
}
FIELDS = Fields(**TOWER_FIELDS, projection="projection_dim")
REQUIRED: dict[str, Any] = {}

hyperparameters = FIELDS.ours


def given(config: dict[str, Any], answers: int) -> Given:
    """Sizes that their `config.json` decides."""
    return tower_sizes(config, answers, vocab=49408, text_length=77)


def config_of(model: Any, sizes: Given, architecture: str) -> dict[str, Any]:
    """Their `config.json` from our hyperparameters.

    Theirs finds the end of a text by its token, which is the last of CLIP's vocabulary, the start before it.
    """
    config = tower_config(FIELDS.theirs(model), sizes)
    config["text_config"] |= {"bos_token_id": sizes.vocab - 2, "eos_token_id": sizes.vocab - 1}
    return config


def name_map(model: Any, sizes: Given, architecture: str) -> NameMap:
    """Keys of `architecture` beside our parameters."""
    embeddings, head = "vision_model.embeddings", "head_contrastive"
    entries = [
        *tower_entries(model, sizes),
        *patch_embeddings(
            f"{embeddings}.patch_embedding", f"{embeddings}.position_embedding.weight", cells(model, sizes),
            cls=f"{embeddings}.class_embedding", bias=False,
        ),
        *norm("vision_model.pre_layrnorm", "image/norm"),
        Entry("text_projection.weight", f"{head}/text/projection/kernel", LINEAR),
        Entry("visual_projection.weight", f"{head}/image/projection/kernel", LINEAR),
        Entry("logit_scale", f"{head}/log_scale"),
    ]  # fmt: skip
    return NameMap(tuple(entries), {}, OLD_BUFFERS)


def tower_sizes(config: dict[str, Any], answers: int, vocab: int, text_length: int) -> Given:
    """Sizes from both sections of a `config.json`, with defaults for what it leaves out."""
    text, side = config.get("text_config") or {}, (config.get("vision_config") or {}).get("image_size", 224)
    length = text.get("max_position_embeddings", text_length)
    return Given(text.get("vocab_size", vocab), answers, length, (side, side))


def tower_config(config: dict[str, Any], sizes: Given) -> dict[str, Any]:
    """`config`, as `FIELDS` gives it, with the sizes."""
    config["text_config"] |= {"vocab_size": sizes.vocab}
    config["vision_config"] |= {"image_size": sizes.image_size[0]}
    return config


def cells(model: Any, sizes: Given) -> int:
    """Patches of an image."""
    return (sizes.image_size[0] // model.patch_size) * (sizes.image_size[1] // model.patch_size)


def tower_entries(model: Any, sizes: Given) -> list[Entry]:
    """Text embeddings, the layers of both towers and the norms behind them."""
    embeddings = "text_model.embeddings"
    return [
        Entry(f"{embeddings}.token_embedding.weight", "text/embedding/words/table", TABLE, size=sizes.vocab),
        Entry(f"{embeddings}.position_embedding.weight", "text/embedding/positions/table", TABLE),
        *pre_norm_layers(
            "text_model.encoder.layers.{i}", "text_layers", "text", model.text_layers, CLIP_LAYER, model.text_width
        ),
        *norm("text_model.final_layer_norm", "text_norm/norm_out"),
        *pre_norm_layers(
            "vision_model.encoder.layers.{i}", "image_layers", "image", model.image_layers, CLIP_LAYER,
            model.image_width,
        ),
        *norm("vision_model.post_layernorm", "image_norm/norm_out"),
    ]  # fmt: skip
