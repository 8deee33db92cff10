"""UNITER as its authors store it (github.com/ChenRocks/UNITER)."""

from collections.abc import Callable
from typing import Any

from vlfusion_jax.convert.name_map import (
    OLD_BUFFERS,
    NameMap,
    bert_embeddings,
    bert_layers,
    class_head,
    linear,
    norm,
    word_head,
)
from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given

WORDS = "uniter.embeddings.word_embeddings.weight"
HEADS = {
    names.ITM: "itm_output.weight",
    names.MLM: "cls.predictions.bias",
    names.NLVR: "nlvr2_output.weight",
    names.REGION: "region_classifier.net.3.weight",
    names.VQA: "vqa_output.3.weight",
}
IGNORED = OLD_BUFFERS | {
    r"^uniter\.img_embeddings\.mask_embedding\.weight$": "added to regions that are masked, and none is",
    r"^feat_regress\.": "regression of the vectors of masked regions",
}


def given(size_of: Callable[[str], int], heads: tuple[str, ...], model: Any) -> Given:
    """Sizes that the tensors decide."""
    answers = size_of(HEADS[names.VQA]) if names.VQA in heads else 1
    return Given(size_of(WORDS), answers, model.text_positions, (0, 0))


def name_map(model: Any, sizes: Given, heads: tuple[str, ...]) -> NameMap:
    """Keys of a checkpoint with `heads` beside our parameters."""
    regions = "uniter.img_embeddings"
    entries = [
        *bert_embeddings("uniter.embeddings", "text", sizes.vocab),
        *linear(f"{regions}.img_linear", "image/regions/projection"),
        *norm(f"{regions}.img_layer_norm", "image/regions/projection_norm"),
        *linear(f"{regions}.pos_linear", "image/regions/box_projection"),
        *norm(f"{regions}.pos_layer_norm", "image/regions/box_norm"),
        *norm(f"{regions}.LayerNorm", "image/regions/norm"),
        *bert_layers("uniter.encoder.layer.{i}", "fusion", "joint", model.layers),
        *linear("uniter.pooler.dense", "text_pooler/projection"),
    ]
    of_heads = {
        names.ITM: linear("itm_output", "head_itm/classes"),
        names.MLM: word_head("cls.predictions", "head_mlm", sizes.vocab, bias="bias"),
        names.NLVR: linear("nlvr2_output", "head_nlvr/classes"),
        names.REGION: [
            *linear("region_classifier.net.0", "head_region/transform"),
            *norm("region_classifier.net.2", "head_region/norm"),
            *linear("region_classifier.net.3", "head_region/classes"),
        ],
        names.VQA: class_head("head_vqa", "vqa_output.0", "vqa_output.2", "vqa_output.3", sizes.answers),
    }
    for head in heads:
        entries += of_heads[head]
    return NameMap(tuple(entries), {"cls.predictions.decoder.weight": WORDS}, IGNORED)
