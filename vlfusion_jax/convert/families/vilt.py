"""ViLT as Hugging Face's `transformers` stores it."""

import math
from typing import Any

import numpy as np

from vlfusion_jax.convert.fields import TRANSFORMER, Fields
from vlfusion_jax.convert.name_map import (
    CONV,
    OLD_BUFFERS,
    TABLE,
    Entry,
    NameMap,
    attention,
    bert_embeddings,
    class_head,
    linear,
    mlp,
    norm,
    word_head,
)  # fmt: skip
from vlfusion_jax.convert.weights import Read
from vlfusion_jax.core import names
from vlfusion_jax.core.arithmetic import longest_side
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.vilt import SIZES

MODEL_TYPE = "vilt"
HEADS = {
    "ViltModel": (),
    "ViltForMaskedLM": (names.MLM,),
    "ViltForQuestionAnswering": (names.VQA,),
    "ViltForImagesAndTextClassification": (names.NLVR,),
    "ViltForImageAndTextRetrieval": (names.RETRIEVAL,),
}
# Our hyperparameters and theirs.
FIELDS = Fields(
    **TRANSFORMER,
    patch_size="patch_size",
    text_positions="max_position_embeddings",
    token_types="type_vocab_size",
    modalities="modality_type_vocab_size",
)
REQUIRED = {"qkv_bias": True, "num_channels": 3}
# What a configuration means that does not say so.
_DEFAULTS = {"dropout": 0.0, "attention_dropout": 0.0}
_WORDS, _PREDICTED = "embeddings.text_embeddings.word_embeddings.weight", "mlm_score.decoder.weight"


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """Our hyperparameters from their `config.json`."""
    size, patch = config.get("image_size", 384), config.get("patch_size", 32)
    grid = (size // patch,) * 2
    return _DEFAULTS | FIELDS.ours(config) | {"grid": grid, "max_image_tokens": patches_kept(config, size)}


def patches_kept(config: dict[str, Any], shorter_side: int) -> int:
    """Our `max_image_tokens`, for images whose shorter side is brought to so many pixels."""
    kept = config.get("max_image_length", -1)
    return _most_patches(shorter_side, config.get("patch_size", 32)) if kept < 0 else kept


def of_tensors(keys: set[str], read: Read, architecture: str) -> dict[str, Any]:
    """Our hyperparameters that the tensors decide: theirs ties the word head unless both of its tables are stored."""
    words = f"vilt.{_WORDS}"
    both = architecture == "ViltForMaskedLM" and {words, _PREDICTED} <= keys
    return {"tied_words": not both or np.array_equal(read(words), read(_PREDICTED))}


def given(config: dict[str, Any], answers: int) -> Given:
    """Sizes that their `config.json` decides."""
    size, length = config.get("image_size", 384), config.get("max_position_embeddings", 40)
    canvas = (longest_side(size, config.get("patch_size", 32)),) * 2
    return Given(config.get("vocab_size", 30522), answers, length, canvas, shorter_side=size)


def _most_patches(size: int, patch: int) -> int:
    """How many to keep of an image where theirs keeps all: none of an image of that sizing is left out."""
    return max((size // patch) * (longest_side(size, patch) // patch), SIZES["base"]["max_image_tokens"])


def config_of(model: Any, sizes: Given, architecture: str) -> dict[str, Any]:
    """Their `config.json` from our hyperparameters."""
    size, kept, patch = model.grid[0] * model.patch_size, model.max_image_tokens, model.patch_size
    canvas = math.prod(side // patch for side in sizes.image_size)
    most = _most_patches(sizes.shorter_side, patch) if sizes.shorter_side else canvas
    config = FIELDS.theirs(model) | {
        "vocab_size": sizes.vocab,
        "image_size": size,
        "max_image_length": kept if kept < most else -1,
        "num_images": 2 if architecture == "ViltForImagesAndTextClassification" else -1,
    }
    return config


def name_map(model: Any, sizes: Given, architecture: str) -> NameMap:
    """Keys of `architecture` beside our parameters."""
    base = "" if architecture == "ViltModel" else "vilt."
    layer, ours, more = f"{base}encoder.layer.{{i}}", "fusion/{i}/joint", {"layers": model.layers}
    qkv = (f"{layer}.attention.attention.{part}" for part in ("query", "key", "value"))
    cells = model.grid[0] * model.grid[1]
    positions = f"{base}embeddings.position_embeddings"
    patches = f"{base}embeddings.patch_embeddings.projection"
    entries = [
        *bert_embeddings(f"{base}embeddings.text_embeddings", "text", sizes.vocab),
        Entry(f"{base}embeddings.token_type_embeddings.weight", "modality/table", TABLE),
        Entry(f"{base}embeddings.cls_token", "image/cls", ones=2),
        Entry(positions, "image/cls_position", ones=1, rows=(0, 1)),
        Entry(positions, "image/grid/positions/table", TABLE, ones=1, rows=(1, 1 + cells)),
        Entry(f"{patches}.weight", "image/patches/projection/kernel", CONV),
        Entry(f"{patches}.bias", "image/patches/projection/bias"),
        *attention(*qkv, f"{layer}.attention.output.dense", f"{ours}_self", **more),
        *norm(f"{layer}.layernorm_before", f"{ours}_self_norm", **more),
        *mlp(f"{layer}.intermediate.dense", f"{layer}.output.dense", f"{ours}_mlp", **more),
        *norm(f"{layer}.layernorm_after", f"{ours}_mlp_norm", **more),
        *norm(f"{base}layernorm", "norm/norm_out"),
        *linear(f"{base}pooler.dense", "text_pooler/projection"),
        *_head(model, architecture, sizes),
    ]
    predicts = architecture == "ViltForMaskedLM"
    copies = {"mlm_score.bias": "mlm_score.decoder.bias"} if predicts else {}
    if predicts and model.tied_words:
        copies[_PREDICTED] = f"{base}{_WORDS}"
    return NameMap(tuple(entries), copies, OLD_BUFFERS)


def _head(model: Any, architecture: str, sizes: Given) -> list[Entry]:
    if architecture == "ViltForMaskedLM":
        own = Entry(_PREDICTED, "head_mlm/words/table", TABLE, size=sizes.vocab)
        return word_head("mlm_score", "head_mlm", sizes.vocab) + ([] if model.tied_words else [own])
    if architecture == "ViltForQuestionAnswering":
        return class_head("head_vqa", "classifier.0", "classifier.1", "classifier.3", sizes.answers)
    if architecture == "ViltForImagesAndTextClassification":
        return class_head("head_nlvr", "classifier.0", "classifier.1", "classifier.3", 2)
    if architecture == "ViltForImageAndTextRetrieval":
        return linear("rank_output", "head_retrieval/classes")
    return []
