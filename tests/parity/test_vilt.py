"""ViLT against `transformers`: every output, for configurations drawn from a seed."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from tests.parity.conftest import TINY, Pair, close
from vlfusion_jax.core import names

KINDS = {
    "ViltModel": {},
    "ViltForMaskedLM": {},
    "ViltForQuestionAnswering": {"num_labels": 9},
    "ViltForImagesAndTextClassification": {"num_images": 2, "modality_type_vocab_size": 3},
    "ViltForImageAndTextRetrieval": {},
}


def draw(seed: int, **more) -> transformers.ViltConfig:
    """A small configuration that is the default in nothing."""
    rng = np.random.default_rng(seed)
    heads = int(rng.integers(2, 5))
    patch = int(rng.choice([4, 6]))
    return transformers.ViltConfig(
        vocab_size=int(rng.integers(90, 140)), hidden_size=heads * int(rng.choice([4, 8])), num_attention_heads=heads,
        num_hidden_layers=int(rng.integers(1, 4)), intermediate_size=int(rng.integers(17, 50)),
        hidden_act=str(rng.choice(["gelu", "gelu_new", "relu", "silu"])), image_size=patch * int(rng.integers(3, 6)),
        patch_size=patch, max_position_embeddings=int(rng.integers(13, 20)), type_vocab_size=int(rng.integers(2, 4)),
        **more,
    )  # fmt: skip


def draw_inputs(config: transformers.ViltConfig, seed: int, rows: int = 3, images: int = 1) -> dict[str, np.ndarray]:
    """Texts of odd lengths and masks with holes; images of other shapes than the position table, valid upper left."""
    rng = np.random.default_rng(seed)
    patch, tokens = config.patch_size, 11
    canvas = np.array([6, 7]) * patch
    sizes = rng.integers(1, [7, 8], size=(rows * images, 2)) * patch
    mask = np.zeros((rows * images, *canvas), np.uint8)
    for each, (height, width) in zip(mask, sizes, strict=True):
        each[:height, :width] = 1
    text_mask = (rng.random((rows, tokens)) < 0.7).astype(np.int32)
    text_mask[:, 0] = 1
    return {
        names.TEXT: rng.integers(0, config.vocab_size, (rows, tokens)).astype(np.int32),
        names.TEXT_MASK: text_mask,
        names.types_of(names.TEXT): rng.integers(0, config.type_vocab_size, (rows, tokens)).astype(np.int32),
        names.IMAGE: rng.random((rows * images, *canvas, 3), np.float32) * mask[..., None],
        names.IMAGE_MASK: mask,
        names.MLM_POSITIONS: np.tile(np.arange(tokens, dtype=np.int32), (rows, 1)),
    }


def their_inputs(inputs: dict[str, np.ndarray], images: int = 1) -> dict[str, torch.Tensor]:
    """The same for `transformers`: pixels in [-1, 1], zero where padded, channels first."""
    mask = inputs[names.IMAGE_MASK]
    pixels = np.where(mask[..., None] > 0, inputs[names.IMAGE] * 2 - 1, 0).transpose(0, 3, 1, 2)
    pixels, mask = torch.tensor(pixels), torch.tensor(mask.astype(np.int64))
    if images > 1:
        pixels, mask = (x.reshape(-1, images, *x.shape[1:]) for x in (pixels, mask))
    return {
        "input_ids": torch.tensor(inputs[names.TEXT]).long(),
        "attention_mask": torch.tensor(inputs[names.TEXT_MASK]).long(),
        "token_type_ids": torch.tensor(inputs[names.types_of(names.TEXT)]).long(),
        "pixel_values": pixels.float(),
        "pixel_mask": mask,
    }


@pytest.fixture(autouse=True)
def raster_order(monkeypatch):
    """Theirs puts image tokens in random order; the first of each kind instead, which is raster order."""
    monkeypatch.setattr(torch, "multinomial", lambda weights, n, **_: torch.arange(len(weights)).repeat(n)[:n])


def check_tokens(pair: Pair, theirs, inputs: dict[str, np.ndarray], bound: float) -> None:
    output = pair.run(inputs)
    tokens = inputs[names.TEXT].shape[1]
    embedded = jnp.concatenate([output.embedded["text"], output.embedded["image"]], 1)
    hidden = [embedded, *output.hidden["fusion"]["joint"]]
    mask = np.concatenate([output.text_mask, output.image_mask], 1) > 0
    # Theirs keeps only as many image tokens as the largest image of the batch has; ours have a fixed number.
    shown = theirs.hidden_states[0].shape[1]
    assert not mask[:, shown:].any()
    for i, (one, other) in enumerate(zip(hidden, theirs.hidden_states, strict=True)):
        close(one[:, :shown], other, bound, mask[:, :shown], f"hidden state {i}")
    attention = output.attention["fusion"]["joint_self_0"]
    for i, other in enumerate(theirs.attentions):
        keep = np.broadcast_to(mask[:, None, :shown, None], other.shape)
        close(attention[i][:, :, :shown, :shown], other, bound, keep, f"attention {i}")
    last = np.concatenate([output.text, output.image], 1)[:, :shown]
    close(last, theirs.last_hidden_state, bound, mask[:, :shown], "last hidden state")
    close(output.text, theirs.last_hidden_state[:, :tokens], bound, mask[:, :tokens])
    close(output.pooled, theirs.pooler_output, bound, what="pooled")


@pytest.mark.parametrize("seed", range(4))
def test_every_token_and_attention_map(convert, seed):
    config = draw(seed)
    pair = convert(transformers.ViltModel, config, seed)
    inputs = draw_inputs(config, seed)
    theirs = pair.theirs(**their_inputs(inputs), output_hidden_states=True, output_attentions=True)
    check_tokens(pair, theirs, inputs, TINY)


@pytest.mark.parametrize("kind", list(KINDS)[1:])
@pytest.mark.parametrize("seed", [10, 11])
def test_heads(convert, kind, seed):
    config = draw(seed, **KINDS[kind])
    images = 2 if "num_images" in KINDS[kind] else 1
    pair = convert(getattr(transformers, kind), config, seed)
    inputs = draw_inputs(config, seed, images=images)
    theirs = pair.theirs(**their_inputs(inputs, images)).logits
    if images == 2:
        rows = {name: np.repeat(x, 2, 0) for name, x in inputs.items() if not name.startswith("image")}
        inputs = inputs | rows | {names.IMAGE_MODALITY: np.tile(np.array([1, 2], np.int32), 3)}
    [head] = pair.ours.heads
    close(pair.run(inputs).logits[head][..., : theirs.shape[-1]], theirs, TINY)
