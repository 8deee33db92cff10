"""BridgeTower against `transformers`: every output, for configurations drawn from a seed."""

import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from tests.parity.conftest import TINY, Pair, close, seeds
from tests.parity.pixels import draw_images, pixels_of
from vlfusion_jax.convert.hugging_face import export_model, import_model
from vlfusion_jax.convert.source import open_checkpoint
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.ops.losses import cross_entropy

PAD = 1
IGNORED = -100  # label of what no loss is taken of


def draw(seed: int, width: int = 0, image_width: int = 128, **more) -> transformers.BridgeTowerConfig:
    """A small configuration that is the default in nothing that may be another; `width` divides by 4, 0 = any."""
    rng = np.random.default_rng(seed)
    heads, layers, patch = int(rng.integers(2, 5)), int(rng.integers(1, 5)), int(rng.choice([4, 6]))
    heads = 4 if width else heads
    width = width or heads * int(rng.choice([4, 8]))
    text = {
        "vocab_size": int(rng.integers(90, 140)), "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "intermediate_size": int(rng.integers(17, 50)),
        "hidden_act": str(rng.choice(["gelu", "gelu_new", "relu", "silu"])),
        "max_position_embeddings": int(rng.integers(15, 20)), "layer_norm_eps": 1e-6,
    }  # fmt: skip
    vision = {
        "hidden_size": image_width, "num_hidden_layers": layers, "patch_size": patch,
        "image_size": patch * int(rng.integers(3, 6)), "layer_norm_eps": 1e-4,
    }  # fmt: skip
    settings = {
        "hidden_size": width, "num_hidden_layers": int(rng.integers(1, layers + 1)), "num_attention_heads": heads,
        "hidden_act": str(rng.choice(["relu", "silu"])), "layer_norm_eps": 1e-3,
        "link_tower_type": ["add", "scaled_add", "interpolate"][seed % 3],
        "share_cross_modal_transformer_layers": bool(seed % 2), "attn_implementation": "eager",
    }  # fmt: skip
    return transformers.BridgeTowerConfig(text_config=text, vision_config=vision, **settings | more)


def draw_inputs(config: transformers.BridgeTowerConfig, seed: int, rows: int = 3) -> dict[str, np.ndarray]:
    """Texts of odd lengths, ids of padding at their ends, and masks with further holes."""
    rng = np.random.default_rng(seed)
    tokens = 11
    text = rng.integers(2, config.text_config.vocab_size, (rows, tokens)).astype(np.int32)
    padded = np.arange(tokens) >= rng.integers(3, tokens + 1, (rows, 1))
    mask = (rng.random((rows, tokens)) < 0.8) & ~padded
    mask[:, 0] = True
    return {
        names.TEXT: np.where(padded, PAD, text),
        names.TEXT_MASK: mask.astype(np.int32),
        names.MLM_POSITIONS: np.tile(np.arange(tokens, dtype=np.int32), (rows, 1)),
    } | draw_images(rng, rows, config.vision_config.image_size)


def their_inputs(inputs: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The same for `transformers`."""
    return {
        "input_ids": torch.tensor(inputs[names.TEXT]).long(),
        "attention_mask": torch.tensor(inputs[names.TEXT_MASK]).long(),
        "pixel_values": pixels_of(inputs),
    }


def tower(output: FusionOutput, kind: str) -> list[np.ndarray]:
    """What went into a tower, and what each of its layers gave."""
    above = [name for name in output.hidden if name.startswith(f"{kind}_layer_")]
    stages = [f"{kind}_layers", *(f"{kind}_layer_{i + 1}" for i in range(len(above)))]
    return [output.embedded[kind], *(layer for stage in stages for layer in output.hidden[stage][kind])]


def labels_of(head: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """What a head's loss is computed from: the words themselves, or whether image and text belong together."""
    if head == names.MLM:
        return np.where(inputs[names.TEXT_MASK] > 0, inputs[names.TEXT], IGNORED).astype(np.int64)
    return np.arange(len(inputs[names.TEXT])) % 2


def check_tokens(pair: Pair, inputs: dict[str, np.ndarray], bound: float, **more) -> tuple:
    """(output of ours, of theirs), tokens of each tower and of the fusion and attention maps held equal."""
    output, keep = pair.run(inputs), inputs[names.TEXT_MASK] > 0
    theirs = pair.theirs(**their_inputs(inputs), **more, output_hidden_states=True, output_attentions=True)
    text, image, cross = theirs.hidden_states
    for i, (one, other) in enumerate(zip(tower(output, "text"), text, strict=True)):
        close(one, other, bound, keep, f"text {i}")
    for i, (one, other) in enumerate(zip(tower(output, "image"), image, strict=True)):
        close(one, other.transpose(0, 1), bound, what=f"image {i}")  # theirs has the tokens first
    for i, states in enumerate(cross):
        for kind, other, rows in zip(("text", "image"), states, (keep, None), strict=True):
            close(output.hidden[f"fusion_{i}"][f"fused_{kind}"][0], other, bound, rows, f"fused {kind} {i}")
            weights = output.attention[f"fusion_{i}"][f"fused_{kind}_self_0"][0]
            queries = None if rows is None else np.broadcast_to(keep[:, None, :, None], weights.shape)
            other = theirs.attentions[i][kind == "image"]
            close(weights, other, bound, queries, f"attention of {kind} {i}")
    return output, theirs


def check(pair: Pair, inputs: dict[str, np.ndarray], bound: float) -> None:
    """Hold every output of the model or of a class with one head equal, and the loss."""
    if pair.ours.heads:
        [head] = pair.ours.heads
        labels = labels_of(head, inputs)
        keep = labels != IGNORED
        output, theirs = check_tokens(pair, inputs, bound, labels=torch.tensor(labels))
        logits = output.logits[head][..., : theirs.logits.shape[-1]]
        close(logits, theirs.logits, bound, keep, "logits")
        close(cross_entropy(logits[keep], labels[keep]).mean(), theirs.loss, bound, what="loss")
    else:
        output, theirs = check_tokens(pair, inputs, bound)
        keep = inputs[names.TEXT_MASK] > 0
        close(output.text, theirs.text_features, bound, keep)
        close(output.image, theirs.image_features, bound)
        close(output.pooled, theirs.pooler_output, bound, what="pooled")


@pytest.mark.parametrize("seed", seeds(0, 1, 2, 3, 4))
def test_every_token_and_attention_map(convert, seed):
    config = draw(seed)
    pair = convert(transformers.BridgeTowerModel, config, seed)
    check(pair, draw_inputs(config, seed), TINY)


@pytest.mark.parametrize("kind", ["BridgeTowerForMaskedLM", "BridgeTowerForImageAndTextRetrieval"])
@pytest.mark.parametrize(("seed", "tied"), [(10, False), (11, True)])
def test_heads(convert, kind, seed, tied):
    config = draw(seed, tie_word_embeddings=tied)
    pair = convert(getattr(transformers, kind), config, seed)
    check(pair, draw_inputs(config, seed), TINY)


def test_words_are_tied_where_the_configuration_says_so(convert):
    pairs = {}
    for tied in (False, True):
        pairs[tied] = convert(transformers.BridgeTowerForMaskedLM, draw(12, tie_word_embeddings=tied))
        assert pairs[tied].ours.model.tied_words == tied
        assert ("head_mlm/words/table" in pairs[tied].ours.params) != tied


def check_contrastive(pair: Pair, inputs: dict[str, np.ndarray], bound: float) -> None:
    """Hold every output and the loss equal."""
    output, theirs = check_tokens(pair, inputs, bound, return_loss=True)
    ours = output.logits[names.CONTRASTIVE]
    close(ours["text"], theirs.text_embeds, bound, what="text")
    close(ours["image"], theirs.image_embeds, bound, what="image")
    close(ours["cross"], theirs.cross_embeds, bound, what="cross")
    text, image, cross = (torch.tensor(np.asarray(ours[name])) for name in ("text", "image", "cross"))
    scale, labels = float(np.exp(pair.ours.params["head_contrastive/log_scale"])), torch.arange(len(text))
    close(ours["logits"], scale * text @ image.T, bound)
    losses = [
        torch.nn.functional.cross_entropy(logits, labels)
        for logits in (torch.tensor(np.asarray(ours["logits"])), scale * text @ cross.T, scale * image @ cross.T)
    ]
    close(sum(losses) / 3, theirs.loss, bound)


@pytest.mark.parametrize("seed", seeds(21, 23))
def test_contrastive(convert, seed):
    # Theirs compares only where all widths are one, and one map serves all layers.
    config = draw(seed, 64, 64, contrastive_hidden_size=11, logit_scale_init_value=1.5)
    pair = convert(transformers.BridgeTowerForContrastiveLearning, config, seed)
    check_contrastive(pair, draw_inputs(config, seed, rows=4), TINY)


@pytest.mark.parametrize(("seed", "kind"), [(30, "Model"), (31, "ForMaskedLM"), (32, "ForImageAndTextRetrieval")])
def test_there_and_back(convert, tmp_path, seed, kind):
    architecture = f"BridgeTower{kind}"
    pair: Pair = convert(getattr(transformers, architecture), draw(seed), seed)
    ours = pair.ours
    tensors, config = export_model(ours.family, ours.model, ours.sizes, architecture, ours.params)
    before = load_file(pair.folder / "model.safetensors")
    assert {key for key in before if key not in tensors} == set(ours.account.ignored)
    for key, array in tensors.items():
        assert array.tobytes() == before[key].tobytes(), key
    folder = tmp_path / "ours"
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    transformers.BridgeTowerConfig(**config).save_pretrained(folder)
    again = getattr(transformers, architecture).from_pretrained(folder, attn_implementation="eager")
    inputs = their_inputs(draw_inputs(pair.theirs.config, seed))
    name = "pooler_output" if kind == "Model" else "logits"
    torch.testing.assert_close(getattr(again(**inputs), name), getattr(pair.theirs(**inputs), name), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share_link_tower_layers": True}, "share_link_tower_layers=True; only False"),
        ({"text_config": {"type_vocab_size": 2}}, "text_config.* type_vocab_size=2"),
        ({"vision_config": {"num_hidden_layers": 13}}, "the text has 12 layers and the image 13"),
    ],
)
def test_refused(tmp_path, changes, message):
    config = transformers.BridgeTowerConfig(architectures=["BridgeTowerModel"], **changes)
    config.save_pretrained(tmp_path)
    save_file({"x": np.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=message):
        import_model(open_checkpoint(str(tmp_path)))
