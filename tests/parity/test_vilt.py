"""ViLT against `transformers`: every output, loss and gradient, for configurations drawn from a seed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from tests.parity.conftest import TINY, Pair, close, gradients_close, seeds
from vlfusion_jax.convert.families import vilt
from vlfusion_jax.convert.hugging_face import import_model
from vlfusion_jax.convert.source import open_checkpoint
from vlfusion_jax.core import names
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.ops.losses import cross_entropy, sparse_binary_cross_entropy
from vlfusion_jax.ops.masks import patch_mask

KINDS = {
    "ViltModel": {},
    "ViltForMaskedLM": {},
    "ViltForQuestionAnswering": {"num_labels": 9},
    "ViltForImagesAndTextClassification": {"num_images": 2, "modality_type_vocab_size": 3},
    "ViltForImageAndTextRetrieval": {},
}
WITH_LOSS = ("ViltForMaskedLM", "ViltForQuestionAnswering", "ViltForImagesAndTextClassification")
IGNORED = -100  # label of what no loss is taken of
pytestmark = pytest.mark.usefixtures("raster_order")


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


def images_of(config: transformers.ViltConfig) -> int:
    """Images of each text."""
    return max(config.num_images, 1)


def draw_inputs(
    config: transformers.ViltConfig,
    seed: int,
    rows: int = 3,
    cells: tuple[int, int] = (6, 7),
    shortest: int = 1,
) -> dict[str, np.ndarray]:
    """Texts of odd lengths and masks with holes; images of other shapes than the position table, valid upper left.

    Word 0 does not occur: theirs gives its vector no gradient.

    Args:
      config: of theirs.
      seed: of all numbers.
      rows: texts.
      cells: rows and columns of patches of the canvas.
      shortest: side of an image, in pixels.
    """
    rng = np.random.default_rng(seed)
    canvas, tokens, images = np.array(cells) * config.patch_size, 11, rows * images_of(config)
    sizes = rng.integers(shortest, canvas + 1, size=(images, 2))
    mask = np.zeros((images, *canvas), np.uint8)
    for each, (height, width) in zip(mask, sizes, strict=True):
        each[:height, :width] = 1
    text_mask = (rng.random((rows, tokens)) < 0.7).astype(np.int32)
    text_mask[:, 0] = 1
    return {
        names.TEXT: rng.integers(1, config.vocab_size, (rows, tokens)).astype(np.int32),
        names.TEXT_MASK: text_mask,
        names.types_of(names.TEXT): rng.integers(0, config.type_vocab_size, (rows, tokens)).astype(np.int32),
        names.IMAGE: rng.random((*mask.shape, 3), np.float32) * mask[..., None],
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


def in_pairs(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Two images to a text as rows of ours: each text twice, each image with its own row of the modality table."""
    rows = {name: np.repeat(x, 2, 0) for name, x in inputs.items() if not name.startswith(names.IMAGE)}
    return inputs | rows | {names.IMAGE_MODALITY: np.tile(np.array([1, 2], np.int32), len(inputs[names.TEXT]))}


def draw_labels(kind: str, config: transformers.ViltConfig, inputs: dict[str, np.ndarray], seed: int) -> np.ndarray:
    """What the class's loss is computed from: words, several answers with a score each, or classes."""
    rng = np.random.default_rng(seed)
    rows = len(inputs[names.TEXT])
    if kind == "ViltForMaskedLM":
        words = rng.integers(0, config.vocab_size, inputs[names.TEXT].shape)
        return np.where(inputs[names.TEXT_MASK] * rng.random(words.shape) > 0.5, words, IGNORED)
    if kind == "ViltForQuestionAnswering":
        scores = rng.choice([0.3, 0.6, 0.9, 1.0], (rows, config.num_labels))
        return (scores * (rng.random(scores.shape) < 0.4)).astype(np.float32)
    return rng.integers(0, config.num_labels, rows)


def our_loss(output: FusionOutput, labels: np.ndarray) -> jax.Array:
    """Mean over the words that are not ignored, or over the rows."""
    [(head, logits)] = output.logits.items()
    if head == names.MLM:
        predicted = labels != IGNORED
        return (cross_entropy(logits, np.where(predicted, labels, 0)) * predicted).sum() / predicted.sum()
    if head == names.VQA:
        answers = np.arange(logits.shape[-1])
        ids = np.broadcast_to(answers[: labels.shape[1]], labels.shape)
        return sparse_binary_cross_entropy(logits, ids, labels, answers < labels.shape[1]).mean()
    return cross_entropy(logits, labels).mean()


def check_tokens(output: FusionOutput, states: tuple, maps: tuple, bound: float, rows: slice) -> None:
    """Hidden states and attention maps of theirs, and those rows of ours."""
    embedded = jnp.concatenate([output.embedded["text"], output.embedded["image"]], 1)
    hidden = [embedded, *output.hidden["fusion"]["joint"]]
    mask = np.concatenate([output.text_mask, output.image_mask], 1)[rows] > 0
    # Theirs keeps only as many image tokens as the largest image of the batch has; ours have a fixed number.
    shown = states[0].shape[1]
    assert not mask[:, shown:].any()
    for i, (one, other) in enumerate(zip(hidden, states, strict=True)):
        close(one[rows, :shown], other, bound, mask[:, :shown], f"hidden state {i}")
    attention = output.attention["fusion"]["joint_self_0"]
    for i, (one, other) in enumerate(zip(attention, maps, strict=True)):
        keep = np.broadcast_to(mask[:, None, :shown, None], other.shape)
        close(one[rows, :, :shown, :shown], other, bound, keep, f"attention {i}")


def check(pair: Pair, inputs: dict[str, np.ndarray], bound: float, labels: np.ndarray | None = None) -> None:
    """Hold every output equal: hidden states, attention maps, what the class makes of them, and the loss of labels."""
    images = images_of(pair.theirs.config)
    options = {"output_hidden_states": True, "output_attentions": True}
    if labels is not None:
        options["labels"] = torch.tensor(labels)
    theirs = pair.theirs(**their_inputs(inputs, images), **options)
    output = pair.run(in_pairs(inputs) if images == 2 else inputs)
    # Theirs reads one image of each text after another, and has states of each.
    states, maps = ([x] if images == 1 else x for x in (theirs.hidden_states, theirs.attentions))
    for i in range(images):
        check_tokens(output, states[i], maps[i], bound, slice(i, None, images))
    if pair.ours.heads:
        [head] = pair.ours.heads
        close(output.logits[head][..., : theirs.logits.shape[-1]], theirs.logits, bound, what="logits")
        if labels is not None:
            close(our_loss(output, labels), theirs.loss, bound, what="loss")
        return
    mask = np.concatenate([output.text_mask, output.image_mask], 1) > 0
    shown, tokens = theirs.last_hidden_state.shape[1], inputs[names.TEXT].shape[1]
    last = np.concatenate([output.text, output.image], 1)[:, :shown]
    close(last, theirs.last_hidden_state, bound, mask[:, :shown], "last hidden state")
    close(output.text, theirs.last_hidden_state[:, :tokens], bound, mask[:, :tokens])
    close(output.pooled, theirs.pooler_output, bound, what="pooled")


@pytest.mark.parametrize("seed", seeds(0, 1, 2, 3))
def test_every_token_and_attention_map(convert, seed):
    config = draw(seed)
    pair = convert(transformers.ViltModel, config, seed)
    check(pair, draw_inputs(config, seed), TINY)


def test_images_of_more_patches_than_are_kept(convert, there_and_back):
    config = draw(4, max_image_length=13)
    pair = convert(transformers.ViltModel, config, 4)
    inputs = draw_inputs(config, 4, rows=6)
    patches = patch_mask(inputs[names.IMAGE_MASK], config.patch_size).sum(1)
    assert (patches > 13).any()
    assert (patches < 13).any()
    assert pair.run(inputs).image.shape[1] == 1 + 13
    check(pair, inputs, TINY)
    check(there_and_back(pair), inputs, TINY)


@pytest.mark.parametrize(
    ("settings", "kept"), [({}, 240), ({"patch_size": 16}, 24 * 39), ({"max_image_length": 100}, 100)]
)
def test_how_many_patches_are_kept(settings, kept):
    config = transformers.ViltConfig(**settings)
    model = hyperparameters("vilt", **vilt.hyperparameters(config.to_dict()))
    assert model.max_image_tokens == kept
    back = vilt.config_of(model, vilt.given(config.to_dict(), 2), "ViltModel")
    assert back["max_image_length"] == config.max_image_length


@pytest.mark.parametrize("kind", list(KINDS)[1:])
@pytest.mark.parametrize("seed", seeds(10, 11))
def test_heads_and_losses(convert, kind, seed):
    config = draw(seed, **KINDS[kind])
    inputs = draw_inputs(config, seed)
    labels = draw_labels(kind, config, inputs, seed) if kind in WITH_LOSS else None
    check(convert(getattr(transformers, kind), config, seed), inputs, TINY, labels)


@pytest.mark.parametrize("kind", WITH_LOSS)
def test_every_gradient(convert, kind):
    config = draw(20, **KINDS[kind])
    images = images_of(config)
    pair = convert(getattr(transformers, kind), config, 20)
    inputs = draw_inputs(config, 20)
    labels = draw_labels(kind, config, inputs, 20)
    pair.theirs(**their_inputs(inputs, images), labels=torch.tensor(labels)).loss.backward()
    ours = pair.gradient(in_pairs(inputs) if images == 2 else inputs, lambda output: our_loss(output, labels))
    gradients_close(ours, pair.their_gradient())


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(convert, there_and_back, kind):
    config = draw(30, **KINDS[kind])
    pair = convert(getattr(transformers, kind), config, 30)
    inputs = their_inputs(draw_inputs(config, 30), images_of(config))
    again = there_and_back(pair).theirs(**inputs).to_tuple()
    for one, other in zip(again, pair.theirs(**inputs).to_tuple(), strict=True):
        assert torch.equal(one, other)


def test_word_head_with_a_table_of_its_own(convert, there_and_back):
    config = draw(31)
    pair = convert(transformers.ViltForMaskedLM, config, 31)
    assert pair.ours.model.tied_words
    # Both tables stored and not alike: theirs does not tie them then.
    tensors = load_file(pair.folder / "model.safetensors")
    words = tensors["vilt.embeddings.text_embeddings.word_embeddings.weight"]
    tensors["mlm_score.decoder.weight"] = words[::-1].copy()
    save_file(tensors, pair.folder / "model.safetensors", metadata={"format": "pt"})
    theirs = transformers.ViltForMaskedLM.from_pretrained(pair.folder).eval()
    assert not torch.equal(theirs.mlm_score.decoder.weight, theirs.get_input_embeddings().weight)
    pair = Pair(theirs, pair.folder, import_model(open_checkpoint(str(pair.folder))))
    assert not pair.ours.model.tied_words
    inputs = draw_inputs(config, 31)
    check(pair, inputs, TINY)
    check(there_and_back(pair), inputs, TINY)
    # Both stored and alike: tied.
    tensors["mlm_score.decoder.weight"] = words
    save_file(tensors, pair.folder / "model.safetensors", metadata={"format": "pt"})
    assert import_model(open_checkpoint(str(pair.folder))).model.tied_words
