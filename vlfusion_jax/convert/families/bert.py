"""BERT as Hugging Face's `transformers` stores it."""

from typing import Any

from vlfusion_jax.convert.fields import TRANSFORMER, Fields, pooler_of
from vlfusion_jax.convert.name_map import (
    OLD_BUFFERS,
    Entry,
    NameMap,
    bert_embeddings,
    bert_layers,
    linear,
    word_head,
)  # fmt: skip
from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given

MODEL_TYPE = "bert"
HEADS = {"BertModel": (), "BertForMaskedLM": (names.MLM,)}
FIELDS = Fields(
    **TRANSFORMER,
    text_positions="max_position_embeddings",
    token_types="type_vocab_size",
)
REQUIRED = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}
# What checkpoints of a word predictor hold beside it: `bert-base-uncased` was saved with all that it was trained with.
UNREAD = {r"\.pooler\.": "a pooler, which no head of this class reads", r"\.seq_relationship\.": "next sentences"}


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """Our hyperparameters from their `config.json`."""
    return FIELDS.ours(config)


of_tensors = pooler_of


def given(config: dict[str, Any], answers: int) -> Given:
    """Sizes that their `config.json` decides."""
    return Given(config.get("vocab_size", 30522), answers, config.get("max_position_embeddings", 512), (0, 0))


def config_of(model: Any, sizes: Given, architecture: str) -> dict[str, Any]:
    """Their `config.json` from our hyperparameters."""
    return FIELDS.theirs(model) | {"vocab_size": sizes.vocab}


def name_map(model: Any, sizes: Given, architecture: str) -> NameMap:
    """Keys of `architecture` beside our parameters."""
    if architecture == "BertModel":
        return NameMap(tuple(tower_entries("", model, sizes)), {}, OLD_BUFFERS)
    head, words = "cls.predictions", "bert.embeddings.word_embeddings.weight"
    entries = tower_entries("bert.", model, sizes) + word_head(head, "head_mlm", sizes.vocab, bias="bias")
    copies = {f"{head}.decoder.weight": words, f"{head}.decoder.bias": f"{head}.bias"}
    return NameMap(tuple(entries), copies, OLD_BUFFERS | UNREAD)


def tower_entries(base: str, model: Any, sizes: Given) -> list[Entry]:
    """Embeddings, layers and, where there is one, the pooler, behind `base`."""
    return [
        *bert_embeddings(f"{base}embeddings", "text", sizes.vocab),
        *bert_layers(f"{base}encoder.layer.{{i}}", "text_layers", "text", model.layers),
        *(linear(f"{base}pooler.dense", "text_pooler/projection") if model.pooler else ()),
    ]
