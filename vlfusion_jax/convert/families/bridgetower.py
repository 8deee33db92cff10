"""BridgeTower as Hugging Face's `transformers` stores it."""

from typing import Any

from vlfusion_jax.convert.fields import Fields, require
from vlfusion_jax.convert.name_map import (
    OLD_BUFFERS,
    OPENAI_LAYER,
    TABLE,
    Entry,
    NameMap,
    bert_embeddings,
    bert_layers,
    linear,
    norm,
    patch_embeddings,
    pre_norm_layers,
    word_head,
)  # fmt: skip
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.bridgetower import parts
from vlfusion_jax.models.families.given import Given

MODEL_TYPE = "bridgetower"
HEADS = {
    "BridgeTowerModel": (),
    "BridgeTowerForMaskedLM": (names.MLM,),
    "BridgeTowerForImageAndTextRetrieval": (names.ITM,),
    "BridgeTowerForContrastiveLearning": (names.CONTRASTIVE,),
}
# Our hyperparameters and theirs.
FIELDS = Fields(
    width="hidden_size",
    heads="text_config.num_attention_heads",
    mlp_width="text_config.intermediate_size",
    activation="text_config.hidden_act",
    head_activation="hidden_act",
    text_norm_epsilon="text_config.layer_norm_eps",
    image_norm_epsilon="vision_config.layer_norm_eps",
    norm_epsilon="layer_norm_eps",
    dropout="text_config.hidden_dropout_prob",
    attention_dropout="text_config.attention_probs_dropout_prob",
    layers="text_config.num_hidden_layers",
    cross_layers="num_hidden_layers",
    text_positions="text_config.max_position_embeddings",
    image_width="vision_config.hidden_size",
    patch_size="vision_config.patch_size",
    shared_transform="share_cross_modal_transformer_layers",
    bridge="link_tower_type",
    tied_words="tie_word_embeddings",
    contrastive_width="contrastive_hidden_size",
    log_scale="logit_scale_init_value",
)
REQUIRED = {"share_link_tower_layers": False}
_REQUIRED_OF_TEXT = {"type_vocab_size": 1, "pad_token_id": 1, "is_decoder": False, "add_cross_attention": False}
_IGNORED = OLD_BUFFERS | {
    r"text_model\.pooler\.": "the text tower's own pooler, which the model does not read",
    r"vision_model\.visual\.ln_separate\.": "norms for the image tower alone, which the model does not read",
}


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """Our hyperparameters from their `config.json`."""
    text, vision = (config.get(section) or {} for section in ("text_config", "vision_config"))
    require(text, _REQUIRED_OF_TEXT, "text_config")
    require(vision, {"num_channels": 3}, "vision_config")
    layers, blocks = (each.get("num_hidden_layers", 12) for each in (text, vision))
    if blocks - vision.get("remove_last_layer", False) != layers:
        raise UserError(
            f"config.json: the text has {layers} layers and the image {blocks}; only equal numbers are known."
        )
    return FIELDS.ours(config)


def given(config: dict[str, Any], answers: int) -> Given:
    """Sizes that their `config.json` decides."""
    text, vision = (config.get(section) or {} for section in ("text_config", "vision_config"))
    side = vision.get("image_size", 288)
    return Given(text.get("vocab_size", 50265), answers, text.get("max_position_embeddings", 514) - 2, (side, side))


def config_of(model: Any, sizes: Given, architecture: str) -> dict[str, Any]:
    """Their `config.json` from our hyperparameters."""
    config = FIELDS.theirs(model)
    config["num_attention_heads"] = model.heads
    config["text_config"] |= {"hidden_size": model.width, "vocab_size": sizes.vocab}
    config["vision_config"] |= {"num_hidden_layers": model.layers, "image_size": sizes.image_size[0]}
    return config


def name_map(model: Any, sizes: Given, architecture: str) -> NameMap:
    """Keys of `architecture` beside our parameters."""
    base = "" if architecture == "BridgeTowerModel" else "bridgetower."
    visual = f"{base}vision_model.visual"
    height, width = sizes.image_size
    embeddings, cells = f"{visual}.embeddings", (height // model.patch_size) * (width // model.patch_size)
    entries = [
        *bert_embeddings(f"{base}text_model.embeddings", "text", sizes.vocab),
        *patch_embeddings(
            f"{embeddings}.patch_embedding", f"{embeddings}.position_embedding.weight", cells,
            f"{embeddings}.class_embedding", bias=False,
        ),
        *norm(f"{visual}.ln_pre", "image/norm"),
        *norm(f"{visual}.ln_post", "image_post_norm/norm_out"),
        Entry(f"{base}token_type_embeddings.weight", "modality/table", TABLE),
    ]  # fmt: skip
    for i, (ending, first, layers) in enumerate(parts(model)):
        text, image = f"{base}text_model.encoder.layer.{{i}}", f"{visual}.transformer.resblocks.{{i}}"
        stage = f"image_layer{ending}"
        entries += bert_layers(text, f"text_layer{ending}", "text", layers, first)
        entries += pre_norm_layers(image, stage, "image", layers, OPENAI_LAYER, model.image_width, first)
        for kind in ("text", "image"):
            entries += _co_attention(model, f"{base}cross_modal_{kind}", kind, i)
    for kind in ("text", "image"):
        theirs = f"{base}cross_modal_{kind}"
        entries += norm(f"{theirs}_layernorm", f"{kind}_norm/norm_out")
        entries += linear(f"{theirs}_pooler.dense", f"fused_{kind}_pooler/projection")
        if model.shared_transform:
            entries += linear(f"{theirs}_transform", f"{kind}_transform/projection")
    words = f"{base}text_model.embeddings.word_embeddings.weight"
    copies = {"mlm_score.decoder.weight": words} if model.tied_words else {}
    return NameMap((*entries, *_head(model, sizes, architecture)), copies, _IGNORED)


def _co_attention(model: Any, theirs: str, kind: str, i: int) -> list[Entry]:
    """Co-attention layer `i` of one stream and what leads to it; `theirs` is what all its keys begin with."""
    entries = bert_layers(f"{theirs}_layers.{{i}}", f"fusion_{i}", f"fused_{kind}", 1, first=i, cross=True)
    if not model.shared_transform:
        entries += linear(f"{theirs}_transform.{i}", f"{kind}_transform_{i}/projection")
    if i:
        link, ours = f"{theirs}_link_tower.{i - 1}", f"{kind}_bridge_{i}"
        entries += norm(f"{link}.LayerNorm", f"{ours}/norm")
        if model.bridge == "scaled_add":
            entries.append(Entry(f"{link}.scaled_factor", f"{ours}/scale"))
        if model.bridge == "interpolate":
            entries.append(Entry(f"{link}.beta", f"{ours}/share"))
    return entries


def _head(model: Any, sizes: Given, architecture: str) -> list[Entry]:
    if architecture == "BridgeTowerForMaskedLM":
        entries = word_head("mlm_score", "head_mlm", sizes.vocab, bias="bias")
        if not model.tied_words:
            entries.append(Entry("mlm_score.decoder.weight", "head_mlm/words/table", TABLE, size=sizes.vocab))
        return entries
    if architecture == "BridgeTowerForImageAndTextRetrieval":
        return linear("itm_score.fc", "head_itm/classes")
    if architecture == "BridgeTowerForContrastiveLearning":
        parts_of_head = (("text", "text"), ("image", "image"), ("cross_modal", "cross"))
        entries = [Entry("logit_scale", "head_contrastive/log_scale")]
        for theirs, ours in parts_of_head:
            entries += linear(f"itc_{theirs}_head.fc", f"head_contrastive/{ours}/projection")
        return entries
    return []
