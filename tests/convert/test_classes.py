"""Checkpoints that name no class, or that hold less or more than the class they name."""

import json

import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file, save_file

from vlfusion_jax.convert.hugging_face import import_model
from vlfusion_jax.convert.source import open_checkpoint
from vlfusion_jax.core.errors import UserError

SMALL = {
    "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2, "intermediate_size": 12, "vocab_size": 30,
    "image_size": 16, "patch_size": 8,
}  # fmt: skip


@pytest.fixture
def save(tmp_path):
    """Function (class name, changes of config.json, function of the tensors in place) -> the checkpoint."""

    def make(name, config=None, change=lambda tensors: None, **settings):
        kind = getattr(transformers, name)
        kind(kind.config_class(**SMALL, **settings)).save_pretrained(tmp_path)
        file, config = tmp_path / "config.json", config or {}
        file.write_text(json.dumps(json.loads(file.read_text()) | config))
        tensors = load_file(tmp_path / "model.safetensors")
        change(tensors)
        save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
        return open_checkpoint(str(tmp_path))

    return make


@pytest.mark.parametrize(
    "name",
    [
        "ViltModel", "ViltForMaskedLM", "ViltForImageAndTextRetrieval", "VisualBertForPreTraining", "BertModel",
        "BertForMaskedLM", "RobertaForMaskedLM", "ViTModel", "ViTForImageClassification",
    ],
)  # fmt: skip
def test_the_class_by_the_keys(save, name):
    imported = import_model(save(name, {"architectures": None}))
    assert imported.architecture == name
    assert not imported.account.ignored
    assert not imported.account.new


def test_keys_of_several_classes(save):
    with pytest.raises(UserError, match=r"ViltForQuestionAnswering and ViltForImagesAndText.*'architectures'"):
        import_model(save("ViltForQuestionAnswering", {"architectures": None}))


def test_keys_of_no_class(save):
    with pytest.raises(UserError, match="fit none"):
        import_model(save("BertModel", {"architectures": []}, lambda t: t.pop("embeddings.LayerNorm.weight")))


def test_a_class_that_is_not_known(save):
    with pytest.raises(UserError, match="BertForNextSentencePrediction"):
        import_model(save("BertForNextSentencePrediction"))


@pytest.mark.parametrize(("name", "base"), [("ViltForMaskedLM", "ViltModel"), ("BertForMaskedLM", "BertModel")])
def test_a_model_under_the_keys_of_a_class_with_a_head(save, name, base):
    def other_words(tensors):
        if base == "ViltModel":
            tensors["mlm_score.decoder.weight"] = np.ones((30, 8), np.float32)

    imported = import_model(save(name, {"architectures": [base]}, other_words))
    assert (imported.architecture, imported.heads, imported.account.new) == (base, (), [])
    assert imported.account.ignored
    assert set(imported.account.ignored.values()) == {f"a head of {name}"}


def test_more_heads_than_those_of_the_class(save):
    more = ("rank_output.weight", "rank_output.bias")
    imported = import_model(
        save("ViltForMaskedLM", change=lambda t: t.update(dict.fromkeys(more, np.ones(1, np.float32))))
    )
    assert imported.account.ignored == dict.fromkeys(more, "a head of ViltForImageAndTextRetrieval")


@pytest.mark.parametrize("key", ["rank_output.odd", "vilt.odd", "embeddings.cls_token"])
def test_other_keys_are_refused(save, key):
    with pytest.raises(UserError, match=f"unexpected key {key}"):
        import_model(save("ViltForMaskedLM", change=lambda t: t.update({key: np.ones(1, np.float32)})))


@pytest.mark.parametrize("name", ["ViTModel", "BertModel"])
def test_a_tower_without_a_pooler(save, name):
    def drop(tensors):
        for part in ("weight", "bias"):
            del tensors[f"pooler.dense.{part}"]

    imported = import_model(save(name, change=drop))
    assert not imported.model.pooler
    assert not imported.account.new


def test_hyperparameters_that_make_no_sense(save):
    with pytest.raises(UserError, match=r"model\.heads"):
        import_model(save("BertModel", {"num_attention_heads": 3}))


def test_bridgetower_with_the_heads_of_two_classes(tmp_path):
    """As `BridgeTower/bridgetower-base-itm-mlm` is stored."""
    sides = {"hidden_size": 64, "num_hidden_layers": 2}
    text = sides | {"num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 30}
    config = transformers.BridgeTowerConfig(
        **sides, num_attention_heads=2, intermediate_size=8,
        text_config=text, vision_config=sides | {"image_size": 16, "patch_size": 8},
    )  # fmt: skip
    words, match = transformers.BridgeTowerForMaskedLM, transformers.BridgeTowerForImageAndTextRetrieval
    words(config).save_pretrained(tmp_path)
    more = {key: x for key, x in load_file(tmp_path / "model.safetensors").items() if key.startswith("mlm_score.")}
    match(config).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors") | more
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    imported = import_model(open_checkpoint(str(tmp_path)))
    assert imported.heads == ("itm",)
    heads = {key for key, why in imported.account.ignored.items() if why == f"a head of {words.__name__}"}
    assert heads == set(more)
