"""BERT, RoBERTa and ViT against `transformers`: every output, for configurations drawn from a seed."""

import json
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from tests.parity.conftest import TINY, Pair, close, randomise, seeds
from vlfusion_jax.convert.hugging_face import import_model
from vlfusion_jax.convert.source import open_checkpoint
from vlfusion_jax.core import names

TEXT_KINDS = ("Bert", "Roberta")
TOKENS = 11


def draw(kind: str, seed: int) -> transformers.PreTrainedConfig:
    """A small configuration that is the default in nothing."""
    rng = np.random.default_rng(seed)
    heads, patch = int(rng.integers(2, 5)), int(rng.choice([4, 6]))
    more: dict[str, Any] = {"image_size": patch * int(rng.integers(2, 5)), "patch_size": patch, "num_labels": 9}
    if kind in TEXT_KINDS:
        more = {
            "vocab_size": int(rng.integers(90, 140)), "type_vocab_size": int(rng.integers(1, 4)),
            "max_position_embeddings": int(rng.integers(18, 25)), "pad_token_id": int(rng.integers(0, 5)),
        }  # fmt: skip
    return getattr(transformers, f"{kind}Config")(
        hidden_size=heads * int(rng.choice([4, 8])), num_attention_heads=heads,
        num_hidden_layers=int(rng.integers(1, 4)), intermediate_size=int(rng.integers(17, 50)),
        hidden_act=str(rng.choice(["gelu", "gelu_new", "relu", "silu"])),
        layer_norm_eps=float(10.0 ** -rng.integers(5, 12)), **more,
    )  # fmt: skip


def draw_text(config: transformers.PreTrainedConfig, seed: int) -> dict[str, np.ndarray]:
    """Texts whose masks have holes; the token of padding, which RoBERTa does not count, behind their ends alone."""
    rng = np.random.default_rng(seed)
    words = np.delete(np.arange(config.vocab_size), config.pad_token_id)
    ids, mask = rng.choice(words, (3, TOKENS)), (rng.random((3, TOKENS)) < 0.7).astype(np.int32)
    mask[:, 0] = 1
    ids[1, 8:], mask[1, 8:] = config.pad_token_id, 0
    return {
        names.TEXT: ids.astype(np.int32),
        names.TEXT_MASK: mask,
        names.types_of(names.TEXT): rng.integers(0, config.type_vocab_size, (3, TOKENS)).astype(np.int32),
        names.MLM_POSITIONS: np.tile(np.arange(TOKENS, dtype=np.int32), (3, 1)),
    }


def draw_image(config: transformers.PreTrainedConfig, seed: int) -> dict[str, np.ndarray]:
    side = config.image_size
    pixels = np.random.default_rng(seed).random((3, side, side, 3), np.float32)
    return {names.IMAGE: pixels, names.IMAGE_MASK: np.ones(pixels.shape[:3], np.uint8)}


def their_inputs(inputs: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The same for `transformers`: pixels in [-1, 1], channels first."""
    if names.IMAGE in inputs:
        return {"pixel_values": torch.tensor((inputs[names.IMAGE] * 2 - 1).transpose(0, 3, 1, 2))}
    theirs = {"input_ids": names.TEXT, "attention_mask": names.TEXT_MASK, "token_type_ids": names.types_of(names.TEXT)}
    return {name: torch.tensor(inputs[ours]).long() for name, ours in theirs.items()}


def check(pair: Pair, inputs: dict[str, np.ndarray], bound: float = TINY) -> None:
    """Hold every output equal: hidden states, attention maps, pooled vector, logits."""
    pair.theirs.set_attn_implementation("eager")  # other implementations return no attention maps
    output = pair.run(inputs)
    theirs = pair.theirs(**their_inputs(inputs), output_hidden_states=True, output_attentions=True)
    stream = "image" if names.IMAGE in inputs else "text"
    keep = np.asarray(getattr(output, f"{stream}_mask")) > 0
    hidden = [output.embedded[stream], *output.hidden[f"{stream}_layers"][stream]]
    for i, (ours, other) in enumerate(zip(hidden, theirs.hidden_states, strict=True)):
        close(ours, other, bound, keep, f"hidden state {i}")
    maps = output.attention[f"{stream}_layers"][f"{stream}_self_0"]
    for i, (ours, other) in enumerate(zip(maps, theirs.attentions, strict=True)):
        close(ours, other, bound, np.broadcast_to(keep[:, None, :, None], other.shape), f"attention {i}")
    if pair.ours.heads:
        [head] = pair.ours.heads
        logits = output.logits[head][..., : theirs.logits.shape[-1]]
        close(logits, theirs.logits, bound, keep if head == names.MLM else None, "logits")
    else:
        close(getattr(output, stream), theirs.last_hidden_state, bound, keep, "last hidden state")
        close(output.pooled, theirs.pooler_output, bound, what="pooled")
    assert getattr(output, "text" if stream == "image" else "image") is None


@pytest.mark.parametrize("seed", seeds(0, 1, 2))
@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        ("Bert", "Model"), ("Bert", "ForMaskedLM"), ("Roberta", "Model"), ("Roberta", "ForMaskedLM"), ("ViT", "Model"),
        ("ViT", "ForImageClassification"),
    ],
)  # fmt: skip
def test_every_output_there_and_back(convert, there_and_back, kind, ending, seed):
    config = draw(kind, seed)
    pair = convert(getattr(transformers, kind + ending), config, seed)
    inputs = (draw_text if kind in TEXT_KINDS else draw_image)(config, seed)
    check(pair, inputs)
    if seed == 0:
        check(there_and_back(pair), inputs)


def test_a_word_predictor_as_bert_was_published(tmp_path):
    """With pooler and sentence head beside, which its class lacks, and TensorFlow's names of the norms' parameters."""
    theirs = transformers.BertForPreTraining(draw("Bert", 4)).eval()
    randomise(theirs, 4)
    theirs.save_pretrained(tmp_path)
    file, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    tensors = load_file(file)
    for now, before in old.items():
        tensors = {key.replace(now, before): x for key, x in tensors.items()}
    save_file(tensors, file)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"architectures": ["BertForMaskedLM"]}))

    pair = Pair(theirs, tmp_path, import_model(open_checkpoint(str(tmp_path))))
    inputs = draw_text(theirs.config, 4)
    logits = theirs(**their_inputs(inputs)).prediction_logits
    close(pair.run(inputs).logits[names.MLM][..., : logits.shape[-1]], logits, TINY, inputs[names.TEXT_MASK] > 0)
    parts = {key.split(".")[-2] for key in pair.ours.account.ignored}
    assert parts == {"dense", "seq_relationship"}
