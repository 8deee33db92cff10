"""BLIP as Hugging Face's `transformers` stores it."""

from typing import Any

from vlfusion_jax.convert.fields import Fields
from vlfusion_jax.convert.name_map import (
    BLIP_LAYER,
    LAYER,
    OLD_BUFFERS,
    Entry,
    NameMap,
    bert_embeddings,
    bert_layers,
    linear,
    norm,
    patch_embeddings,
    pre_norm_layers,
    word_head,
)
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.layers.block import MLP, SELF
from vlfusion_jax.models.families.given import Given

MODEL_TYPE = "blip"
CAPTIONING, QUESTIONS, RETRIEVAL = (
    "BlipForConditionalGeneration", "BlipForQuestionAnswering", "BlipForImageTextRetrieval",
)  # fmt: skip
HEADS = {
    CAPTIONING: (names.CAPTION,),
    QUESTIONS: (names.ANSWER,),
    RETRIEVAL: (names.CONTRASTIVE, names.ITM),
}
VARIANTS = {CAPTIONING: "captioning", QUESTIONS: "vqa", RETRIEVAL: "retrieval"}
FIELDS = Fields(
    text_width="text_config.hidden_size",
    text_layers="text_config.num_hidden_layers",
    text_heads="text_config.num_attention_heads",
    text_mlp_width="text_config.intermediate_size",
    text_activation="text_config.hidden_act",
    text_norm_epsilon="text_config.layer_norm_eps",
    text_positions="text_config.max_position_embeddings",
    begin_id="text_config.bos_token_id",
    end_id="text_config.sep_token_id",
    dropout="text_config.hidden_dropout_prob",
    attention_dropout="text_config.attention_probs_dropout_prob",
    image_width="vision_config.hidden_size",
    image_layers="vision_config.num_hidden_layers",
    image_heads="vision_config.num_attention_heads",
    image_mlp_width="vision_config.intermediate_size",
    image_activation="vision_config.hidden_act",
    image_norm_epsilon="vision_config.layer_norm_eps",
    image_attention_dropout="vision_config.attention_dropout",
    patch_size="vision_config.patch_size",
    vector_width="image_text_hidden_size",
)
REQUIRED = {"tie_word_embeddings": True}
# What a configuration means that does not say so: trained checkpoints have 12 heads, and say so.
_TEXT_HEADS, _VOCAB, _POSITIONS, _IMAGE_SIZE = 8, 30524, 512, 384


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """Our hyperparameters from their `config.json`."""
    if not config.get("text_config", {}).get("is_decoder", True):
        raise UserError(
            "config.json: text_config.is_decoder is false: a BLIP without cross-attention is not known here."
        )
    architecture = (config.get("architectures") or [CAPTIONING])[0]
    # Their classes score vectors by their cosine alone.
    ours = {"text_heads": _TEXT_HEADS, "dropout": 0.0, "attention_dropout": 0.0, "temperature": False}
    return ours | FIELDS.ours(config) | {"variant": VARIANTS[architecture]}


def given(config: dict[str, Any], answers: int) -> Given:
    """Sizes that their `config.json` decides."""
    text, side = config.get("text_config", {}), config.get("vision_config", {}).get("image_size", _IMAGE_SIZE)
    return Given(text.get("vocab_size", _VOCAB), answers, text.get("max_position_embeddings", _POSITIONS), (side, side))


def config_of(model: Any, sizes: Given, architecture: str) -> dict[str, Any]:
    """Their `config.json` from our hyperparameters."""
    if VARIANTS[architecture] != model.variant:
        raise UserError(f"{architecture} is for model.variant={VARIANTS[architecture]!r}; this is {model.variant!r}.")
    config = FIELDS.theirs(model)
    config["text_config"] |= {"vocab_size": sizes.vocab, "encoder_hidden_size": model.image_width}
    config["vision_config"]["image_size"] = sizes.image_size[0]
    return config


def name_map(model: Any, sizes: Given, architecture: str) -> NameMap:
    """Keys of `architecture` beside our parameters."""
    cells = (sizes.image_size[0] // model.patch_size) * (sizes.image_size[1] // model.patch_size)
    embeddings = "vision_model.embeddings"
    entries = [
        *patch_embeddings(
            f"{embeddings}.patch_embedding", f"{embeddings}.position_embedding", cells,
            f"{embeddings}.class_embedding", ones=1,
        ),
        *pre_norm_layers(
            f"vision_model.encoder.layers.{LAYER}", "image_layers", "image", model.image_layers, BLIP_LAYER,
            model.image_width,
        ),
        *norm("vision_model.post_layernorm", "image_norm/norm_out"),
    ]  # fmt: skip
    if architecture != CAPTIONING:
        entries += _text("text_encoder", "text_layers", "text", model, sizes, architecture == RETRIEVAL)
    if architecture == RETRIEVAL:
        entries += linear("text_proj", "head_contrastive/text/projection")
        entries += linear("vision_proj", "head_contrastive/image/projection")
        entries += linear("itm_head", "head_itm/classes")
        return NameMap(tuple(entries), {}, OLD_BUFFERS)
    decoder, predictions = "text_decoder.bert", "text_decoder.cls.predictions"
    entries += _text(decoder, "decoder_layers", "target", model, sizes)
    entries += word_head(predictions, f"{names.HEAD}{HEADS[architecture][0]}", sizes.vocab, "bias")
    copies = {
        f"{predictions}.decoder.weight": f"{decoder}.embeddings.word_embeddings.weight",
        f"{predictions}.decoder.bias": f"{predictions}.bias",
    }
    return NameMap(tuple(entries), copies, OLD_BUFFERS)


def _text(theirs: str, stage: str, stream: str, model: Any, sizes: Given, tied: bool = False) -> list[Entry]:
    return [
        *bert_embeddings(f"{theirs}.embeddings", stream, sizes.vocab, types=False),
        *bert_layers(
            f"{theirs}.encoder.layer.{LAYER}", stage, stream, model.text_layers, cross=True,
            tied=(SELF, MLP) if tied else (),
        ),
    ]  # fmt: skip
