"""RoBERTa as Hugging Face's `transformers` stores it."""

from typing import Any

from vlfusion_jax.convert.families import bert
from vlfusion_jax.convert.fields import pooler_of
from vlfusion_jax.convert.name_map import OLD_BUFFERS, Entry, NameMap, linear, norm
from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given

MODEL_TYPE = "roberta"
HEADS = {"RobertaModel": (), "RobertaForMaskedLM": (names.MLM,)}
REQUIRED = bert.REQUIRED
# What a configuration means that does not say so: trained checkpoints have other numbers, and say so.
_DEFAULTS = {"norm_epsilon": 1e-12, "text_positions": 512, "token_types": 2}


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """Our hyperparameters from their `config.json`."""
    return _DEFAULTS | bert.FIELDS.ours(config) | {"position_offset": config.get("pad_token_id", 1) + 1}


of_tensors = pooler_of


def given(config: dict[str, Any], answers: int) -> Given:
    """Sizes that their `config.json` decides."""
    offset = config.get("pad_token_id", 1) + 1
    length = config.get("max_position_embeddings", _DEFAULTS["text_positions"]) - offset
    return Given(config.get("vocab_size", 50265), answers, length, (0, 0))


def config_of(model: Any, sizes: Given, architecture: str) -> dict[str, Any]:
    """Their `config.json` from our hyperparameters.

    Theirs counts positions from behind the token of padding, and does not count that token: one inside a text, where
    only masks tell us what is padding, would have another position there.
    """
    return bert.config_of(model, sizes, architecture) | {"pad_token_id": model.position_offset - 1}


def name_map(model: Any, sizes: Given, architecture: str) -> NameMap:
    """Keys of `architecture` beside our parameters."""
    if architecture == "RobertaModel":
        return NameMap(tuple(bert.tower_entries("", model, sizes)), {}, OLD_BUFFERS)
    words = "roberta.embeddings.word_embeddings.weight"
    entries = [
        *bert.tower_entries("roberta.", model, sizes),
        *linear("lm_head.dense", "head_mlm/transform"),
        *norm("lm_head.layer_norm", "head_mlm/norm"),
        Entry("lm_head.bias", "head_mlm/bias", size=sizes.vocab),
    ]
    copies = {"lm_head.decoder.weight": words, "lm_head.decoder.bias": "lm_head.bias"}
    return NameMap(tuple(entries), copies, OLD_BUFFERS | bert.UNREAD)
