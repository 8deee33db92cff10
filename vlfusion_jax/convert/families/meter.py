"""METER as its authors store it (github.com/zdou0830/METER), with RoBERTa and CLIP."""

import math
from collections.abc import Callable
from typing import Any

from vlfusion_jax.convert.name_map import (
    OLD_BUFFERS,
    OPENAI_LAYER,
    TABLE,
    Entry,
    NameMap,
    bert_embeddings,
    bert_layers,
    class_head,
    linear,
    norm,
    patch_embeddings,
    pre_norm_layers,
    word_head,
)  # fmt: skip
from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given

WORDS = "text_transformer.embeddings.word_embeddings.weight"
POSITIONS = "vit_model.visual.positional_embedding"
HEADS = {
    names.ITM: "itm_score.fc.weight",
    names.MLM: "mlm_score.bias",
    names.NLVR: "nlvr2_classifier.3.weight",
    names.RETRIEVAL: "rank_output.weight",
    names.VQA: "vqa_classifier.3.weight",
}
IGNORED = OLD_BUFFERS | {
    r"^text_transformer\.pooler\.": "RoBERTa's own pooler, which the model does not read",
    r"^vit_model\.(token_embedding\.|positional_embedding$|ln_final\.)": "CLIP's text tower, which the model lacks",
}


def given(size_of: Callable[..., int], heads: tuple[str, ...], model: Any) -> Given:
    """Sizes that the tensors decide."""
    answers = size_of(HEADS[names.VQA]) if names.VQA in heads else 1
    side = math.isqrt(size_of(POSITIONS) - 1) * model.patch_size
    return Given(size_of(WORDS), answers, model.text_positions - 2, (side, side))


def name_map(model: Any, sizes: Given, heads: tuple[str, ...]) -> NameMap:
    """Keys of a checkpoint with `heads` beside our parameters."""
    visual, cells = "vit_model.visual", math.prod(side // model.patch_size for side in sizes.image_size)
    blocks = f"{visual}.transformer.resblocks.{{i}}"
    entries = [
        *bert_embeddings("text_transformer.embeddings", "text", sizes.vocab),
        *bert_layers("text_transformer.encoder.layer.{i}", "text_layers", "text", model.text_layers),
        *patch_embeddings(f"{visual}.conv1", POSITIONS, cells, f"{visual}.class_embedding", bias=False),
        *norm(f"{visual}.ln_pre", "image/norm"),
        *pre_norm_layers(blocks, "image_layers", "image", model.image_layers, OPENAI_LAYER, model.image_width),
        *norm(f"{visual}.ln_post", "image_transform/norm_in"),
        Entry("token_type_embeddings.weight", "modality/table", TABLE),
    ]
    for kind in ("text", "image"):
        theirs, ours = f"cross_modal_{kind}", f"fused_{kind}"
        entries += linear(f"{theirs}_transform", f"{kind}_transform/projection")
        entries += bert_layers(f"{theirs}_layers.{{i}}", "fusion", ours, model.cross_layers, cross=True)
        entries += linear(f"{theirs}_pooler.dense", f"{ours}_pooler/projection")
    of_heads = {
        names.ITM: linear("itm_score.fc", "head_itm/classes"),
        names.MLM: [
            *word_head("mlm_score", "head_mlm", sizes.vocab, bias="bias"),
            Entry("mlm_score.decoder.weight", "head_mlm/words/table", TABLE, size=sizes.vocab),
        ],
        names.NLVR: _classifier("nlvr2_classifier", names.NLVR, 2),
        names.RETRIEVAL: linear("rank_output", "head_retrieval/classes"),
        names.VQA: _classifier("vqa_classifier", names.VQA, sizes.answers),
    }
    for head in heads:
        entries += of_heads[head]
    return NameMap(tuple(entries), {}, IGNORED)


def _classifier(theirs: str, head: str, classes: int) -> list[Entry]:
    return class_head(f"{names.HEAD}{head}", f"{theirs}.0", f"{theirs}.1", f"{theirs}.3", classes)
