"""ALBEF as its authors store it (github.com/salesforce/ALBEF): pretrained, or fine-tuned for retrieval."""

import math
from collections.abc import Callable
from typing import Any

from vlfusion_jax.convert.name_map import (
    OLD_BUFFERS,
    TIMM_LAYER,
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
from vlfusion_jax.models.families.given import Given

POSITIONS = "visual_encoder.pos_embed"
PREDICTIONS = "text_encoder.cls.predictions"
HEADS = {
    names.CONTRASTIVE: "temp",
    names.ITM: "itm_head.weight",
    names.MLM: f"{PREDICTIONS}.bias",
}
IGNORED = OLD_BUFFERS | {
    r"^(visual_encoder|text_encoder|vision_proj|text_proj)_m\.": "the moving average of the weights, made in training",
    r"^(image_queue|text_queue|idx_queue|queue_ptr)$": "vectors of earlier batches, made in training",
}


def given(size_of: Callable[..., int], heads: tuple[str, ...], model: Any) -> Given:
    """Sizes that the tensors decide."""
    side = math.isqrt(size_of(POSITIONS, 1) - 1) * model.patch_size
    words = f"{_text_encoder(heads)}.embeddings.word_embeddings.weight"
    return Given(size_of(words), 1, model.text_positions, (side, side))


def name_map(model: Any, sizes: Given, heads: tuple[str, ...]) -> NameMap:
    """Keys of a checkpoint with `heads` beside our parameters."""
    bert, cells = _text_encoder(heads), math.prod(side // model.patch_size for side in sizes.image_size)
    layer, first = f"{bert}.encoder.layer.{{i}}", model.text_layers
    blocks, visual = "visual_encoder.blocks.{i}", "visual_encoder"
    entries = [
        *patch_embeddings(f"{visual}.patch_embed.proj", POSITIONS, cells, f"{visual}.cls_token", ones=1),
        *pre_norm_layers(blocks, "image_layers", "image", model.image_layers, TIMM_LAYER, model.image_width),
        *norm(f"{visual}.norm", "image_norm/norm_out"),
        *bert_embeddings(f"{bert}.embeddings", "text", sizes.vocab),
        *bert_layers(layer, "text_layers", "text", model.text_layers),
        *bert_layers(layer, "fusion", "fused_text", model.fusion_layers, first, cross=True),
    ]
    of_heads = {
        names.CONTRASTIVE: [
            *linear("vision_proj", "head_contrastive/image/projection"),
            *linear("text_proj", "head_contrastive/text/projection"),
            Entry("temp", "head_contrastive/temperature"),
        ],
        names.ITM: linear("itm_head", "head_itm/classes"),
        names.MLM: word_head(PREDICTIONS, "head_mlm", sizes.vocab, bias="bias"),
    }
    for head in heads:
        entries += of_heads[head]
    copies = {
        f"{PREDICTIONS}.decoder.weight": f"{bert}.embeddings.word_embeddings.weight",
        f"{PREDICTIONS}.decoder.bias": f"{PREDICTIONS}.bias",
    }
    return NameMap(tuple(entries), copies, IGNORED)


def _text_encoder(heads: tuple[str, ...]) -> str:
    """What keys of BERT begin with: with a word head it is a part of another module."""
    return "text_encoder.bert" if names.MLM in heads else "text_encoder"
