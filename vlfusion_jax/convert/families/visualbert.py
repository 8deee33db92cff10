"""VisualBERT as Hugging Face's `transformers` stores it."""

from typing import Any

from vlfusion_jax.convert.fields import TRANSFORMER, Fields
from vlfusion_jax.convert.name_map import (
    OLD_BUFFERS,
    TABLE,
    Entry,
    NameMap,
    bert_embeddings,
    bert_layers,
    linear,
    word_head,
)  # fmt: skip
from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given

MODEL_TYPE = "visual_bert"
HEADS = {
    "VisualBertModel": (),
    "VisualBertForPreTraining": (names.ITM, names.MLM),
    "VisualBertForQuestionAnswering": (names.VQA,),
    "VisualBertForVisualReasoning": (names.NLVR,),
}
# Our hyperparameters and theirs.
FIELDS = Fields(
    **TRANSFORMER,
    text_positions="max_position_embeddings",
    token_types="type_vocab_size",
    region_features="visual_embedding_dim",
)
REQUIRED = {"bypass_transformer": False}


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """Our hyperparameters from their `config.json`."""
    return FIELDS.ours(config)


def given(config: dict[str, Any], answers: int) -> Given:
    """Sizes that their `config.json` decides."""
    return Given(config.get("vocab_size", 30522), answers, config.get("max_position_embeddings", 512), (0, 0))


def config_of(model: Any, sizes: Given, architecture: str) -> dict[str, Any]:
    """Their `config.json` from our hyperparameters."""
    return FIELDS.theirs(model) | {"vocab_size": sizes.vocab, "pad_token_id": 0}


def name_map(model: Any, sizes: Given, architecture: str) -> NameMap:
    """Keys of `architecture` beside our parameters."""
    base = "" if architecture == "VisualBertModel" else "visual_bert."
    text, regions = f"{base}embeddings", "image/regions"
    entries = [
        *bert_embeddings(text, "text", sizes.vocab, normed="embedding_norm/norm_out"),
        Entry(f"{text}.visual_token_type_embeddings.weight", f"{regions}/types/table", TABLE),
        Entry(f"{text}.visual_position_embeddings.weight", f"{regions}/positions/table", TABLE),
        *linear(f"{text}.visual_projection", f"{regions}/projection"),
        *bert_layers(f"{base}encoder.layer.{{i}}", "fusion", "joint", model.layers),
        *linear(f"{base}pooler.dense", "text_pooler/projection"),
        *_head(architecture, sizes),
    ]
    copies = {
        "cls.predictions.decoder.weight": f"{text}.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    }
    return NameMap(tuple(entries), copies, OLD_BUFFERS)


def _head(architecture: str, sizes: Given) -> list[Entry]:
    """`cls` is a tree of heads in one class and a linear map in the others."""
    if architecture == "VisualBertForPreTraining":
        return [
            *word_head("cls.predictions", "head_mlm", sizes.vocab, bias="bias"),
            # Their class 1 is a text of another image, ours is a text of this one.
            *linear("cls.seq_relationship", "head_itm/classes", reverse=True),
        ]
    if architecture == "VisualBertForQuestionAnswering":
        return linear("cls", "head_vqa/classes", size=sizes.answers)
    if architecture == "VisualBertForVisualReasoning":
        return linear("cls", "head_nlvr/classes")
    return []
