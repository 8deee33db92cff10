"""LXMERT as Hugging Face's `transformers` stores it."""

from typing import Any

from vlfusion_jax.convert.fields import Fields
from vlfusion_jax.convert.name_map import (
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
)  # fmt: skip
from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given

MODEL_TYPE = "lxmert"
HEADS = {
    "LxmertModel": (),
    "LxmertForPreTraining": (names.ITM, names.MLM, names.REGION, names.VQA),
    "LxmertForQuestionAnswering": (names.VQA,),
}
# Our hyperparameters and theirs.
FIELDS = Fields(
    width="hidden_size",
    text_layers="l_layers",
    image_layers="r_layers",
    cross_layers="x_layers",
    heads="num_attention_heads",
    mlp_width="intermediate_size",
    activation="hidden_act",
    dropout="hidden_dropout_prob",
    attention_dropout="attention_probs_dropout_prob",
    text_positions="max_position_embeddings",
    token_types="type_vocab_size",
    region_features="visual_feat_dim",
    objects="num_object_labels",
    attributes="num_attr_labels",
)
REQUIRED = {"visual_pos_dim": 4}


def hyperparameters(config: dict[str, Any]) -> dict[str, Any]:
    """Our hyperparameters from their `config.json`."""
    return FIELDS.ours(config)


def given(config: dict[str, Any], answers: int) -> Given:
    """Sizes that their `config.json` decides."""
    return Given(config.get("vocab_size", 30522), answers, config.get("max_position_embeddings", 512), (0, 0))


def config_of(model: Any, sizes: Given, architecture: str) -> dict[str, Any]:
    """Their `config.json` from our hyperparameters."""
    return FIELDS.theirs(model) | {"vocab_size": sizes.vocab, "num_qa_labels": sizes.answers}


def name_map(model: Any, sizes: Given, architecture: str) -> NameMap:
    """Keys of `architecture` beside our parameters."""
    base = "" if architecture == "LxmertModel" else "lxmert."
    encoder, regions = f"{base}encoder", "image/regions"
    entries = [
        *bert_embeddings(f"{base}embeddings", "text", sizes.vocab),
        *linear(f"{encoder}.visn_fc.visn_fc", f"{regions}/projection"),
        *norm(f"{encoder}.visn_fc.visn_layer_norm", f"{regions}/projection_norm"),
        *linear(f"{encoder}.visn_fc.box_fc", f"{regions}/box_projection"),
        *norm(f"{encoder}.visn_fc.box_layer_norm", f"{regions}/box_norm"),
        *bert_layers(f"{encoder}.layer.{{i}}", "text_layers", "text", model.text_layers),
        *bert_layers(f"{encoder}.r_layers.{{i}}", "image_layers", "image", model.image_layers),
        *_cross_layers(f"{encoder}.x_layers.{{i}}", model.cross_layers),
        *linear(f"{base}pooler.dense", "text_pooler/projection"),
    ]
    heads = HEADS[architecture]
    if names.VQA in heads:
        # Number 1 of their sequence is the activation.
        answer = "answer_head.logit_fc"
        entries += class_head("head_vqa", f"{answer}.0", f"{answer}.2", f"{answer}.3", sizes.answers)
    if names.MLM in heads:
        entries += word_head("cls.predictions", "head_mlm", sizes.vocab, bias="bias")
        entries += linear("cls.seq_relationship", "head_itm/classes")
        entries += linear("obj_predict_head.transform.dense", "head_region/transform")
        entries += norm("obj_predict_head.transform.LayerNorm", "head_region/norm")
        for name in ("obj", "attr", "feat"):
            entries += linear(f"obj_predict_head.decoder_dict.{name}", f"head_region/{name}")
    copies = {"cls.predictions.decoder.weight": f"{base}embeddings.word_embeddings.weight"}
    return NameMap(tuple(entries), copies, OLD_BUFFERS)


def _cross_layers(theirs: str, layers: int) -> list[Entry]:
    ours, more = "fusion/{i}", {"layers": layers}
    kinds = [(f"{theirs}.visual_attention", "att", f"{ours}/shared_cross")]
    entries = []
    for key, stream in (("lang", "text"), ("visn", "image")):
        kinds.append((f"{theirs}.{key}_self_att", "self", f"{ours}/{stream}_self"))
        entries += mlp(f"{theirs}.{key}_inter.dense", f"{theirs}.{key}_output.dense", f"{ours}/{stream}_mlp", **more)
        entries += norm(f"{theirs}.{key}_output.LayerNorm", f"{ours}/{stream}_mlp_norm", **more)
    for key, inner, path in kinds:
        qkv = (f"{key}.{inner}.{part}" for part in ("query", "key", "value"))
        entries += attention(*qkv, f"{key}.output.dense", path, **more)
        entries += norm(f"{key}.output.LayerNorm", f"{path}_norm", **more)
    return entries
