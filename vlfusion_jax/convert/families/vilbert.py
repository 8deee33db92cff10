"""ViLBERT as its authors store it (github.com/facebookresearch/vilbert-multi-task)."""

from collections.abc import Callable
from typing import Any

from vlfusion_jax.convert.name_map import (
    LAYER,
    OLD_BUFFERS,
    Entry,
    NameMap,
    attention,
    bert_embeddings,
    bert_layers,
    class_head,
    linear,
    mlp,
    norm,
    word_head,
)
from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given

WORDS = "bert.embeddings.word_embeddings.weight"
HEADS = {
    names.ITM: "cls.bi_seq_relationship.weight",
    names.MLM: "cls.predictions.bias",
    names.NLVR: "vil_binary_prediction.logit_fc.3.weight",
    names.REGION: "cls.imagePredictions.decoder.weight",
    names.RETRIEVAL: "vil_logit.weight",
    names.VQA: "vil_prediction.logit_fc.3.weight",
}
IGNORED = OLD_BUFFERS | {
    r"\.biOutput\.q_dense[12]\.": "never applied",
    r"^vil_prediction_gqa\.": "answers of GQA",
    r"^vil_tri_prediction\.": "visual entailment",
    r"^(vision|linguisic)_logit\.": "choice of a region or a word",
}
_IMAGE, _TEXT = "1", "2"  # endings of the co-attention's parts


def given(size_of: Callable[[str], int], heads: tuple[str, ...], model: Any) -> Given:
    """Sizes that the tensors decide."""
    answers = size_of(HEADS[names.VQA]) if names.VQA in heads else 1
    return Given(size_of(WORDS), answers, model.text_positions, (0, 0))


def name_map(model: Any, sizes: Given, heads: tuple[str, ...]) -> NameMap:
    """Keys of a checkpoint with `heads` beside our parameters."""
    alone, fused = model.text_layers, model.cross_layers
    entries = [
        *bert_embeddings("bert.embeddings", "text", sizes.vocab),
        *linear("bert.v_embeddings.image_embeddings", "image/regions/projection"),
        *linear("bert.v_embeddings.image_location_embeddings", "image/regions/box_projection"),
        *norm("bert.v_embeddings.LayerNorm", "image/regions/norm"),
        *bert_layers("bert.encoder.layer.{i}", "text_layers", "text", alone),
        *bert_layers("bert.encoder.layer.{i}", "fusion", "text", fused, first=alone, again="_2"),
        *bert_layers("bert.encoder.v_layer.{i}", "fusion", "image", fused, again="_2"),
        *_co_attention("text", "t", _TEXT, _IMAGE, fused),
        *_co_attention("image", "v", _IMAGE, _TEXT, fused),
        *linear("bert.t_pooler.dense", "text_pooler/projection"),
        *linear("bert.v_pooler.dense", "image_pooler/projection"),
    ]
    of_heads = {
        # Their class 1 is a text of another image, ours is a text of this one.
        names.ITM: linear("cls.bi_seq_relationship", "head_itm/classes", reverse=True),
        names.MLM: word_head("cls.predictions", "head_mlm", sizes.vocab, bias="bias"),
        names.NLVR: _classifier("vil_binary_prediction", "head_nlvr", 2),
        names.REGION: [
            *linear("cls.imagePredictions.transform.dense", "head_region/transform"),
            *norm("cls.imagePredictions.transform.LayerNorm", "head_region/norm"),
            *linear("cls.imagePredictions.decoder", "head_region/classes"),
        ],
        names.RETRIEVAL: linear("vil_logit", "head_retrieval/classes"),
        names.VQA: _classifier("vil_prediction", "head_vqa", sizes.answers),
    }
    for head in heads:
        entries += of_heads[head]
    return NameMap(tuple(entries), {"cls.predictions.decoder.weight": WORDS}, IGNORED)


def _co_attention(stream: str, letter: str, own: str, other: str, layers: int) -> list[Entry]:
    """The co-attention and feed-forward part of a stream: its own queries, keys and values of the other."""
    layer, ours, more = f"bert.encoder.c_layer.{LAYER}", f"fusion/{LAYER}/{stream}", {"layers": layers}
    parts = (f"{layer}.biattention.{part}" for part in (f"query{own}", f"key{other}", f"value{other}"))
    return [
        *attention(*parts, f"{layer}.biOutput.dense{own}", f"{ours}_cross", **more),
        *norm(f"{layer}.biOutput.LayerNorm{own}", f"{ours}_cross_norm", **more),
        *mlp(f"{layer}.{letter}_intermediate.dense", f"{layer}.{letter}_output.dense", f"{ours}_mlp", **more),
        *norm(f"{layer}.{letter}_output.LayerNorm", f"{ours}_mlp_norm", **more),
    ]


def _classifier(theirs: str, ours: str, classes: int) -> list[Entry]:
    return class_head(ours, f"{theirs}.logit_fc.0", f"{theirs}.logit_fc.2", f"{theirs}.logit_fc.3", classes)
