"""LXMERT against `transformers`: every output, losses and gradients, for configurations drawn from a seed."""

import jax
import numpy as np
import pytest
import torch
import transformers

from tests.parity.conftest import TINY, Pair, close, gradients_close, seeds
from tests.parity.regions import draw_regions, draw_text
from vlfusion_jax.core import names
from vlfusion_jax.models.families import lxmert
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.models.parameters import param_shapes
from vlfusion_jax.ops.losses import cross_entropy, smooth_l1

KINDS = ("LxmertModel", "LxmertForPreTraining", "LxmertForQuestionAnswering")
IGNORED = -100  # label of what no loss is taken of
EVERYTHING = {"output_hidden_states": True, "output_attentions": True}


def draw(seed: int) -> transformers.LxmertConfig:
    """A small configuration that is the default in nothing."""
    rng = np.random.default_rng(seed)
    heads = int(rng.integers(2, 5))
    layers = {name: int(rng.integers(1, 4)) for name in ("l_layers", "r_layers", "x_layers")}
    return transformers.LxmertConfig(
        vocab_size=int(rng.integers(90, 140)), hidden_size=heads * int(rng.choice([4, 8])), num_attention_heads=heads,
        intermediate_size=int(rng.integers(17, 50)), hidden_act=str(rng.choice(["gelu", "gelu_new", "relu", "silu"])),
        max_position_embeddings=int(rng.integers(13, 20)), type_vocab_size=int(rng.integers(2, 4)),
        visual_feat_dim=int(rng.integers(9, 20)), num_qa_labels=int(rng.integers(5, 12)),
        num_object_labels=int(rng.integers(5, 12)), num_attr_labels=int(rng.integers(3, 9)), **layers,
    )  # fmt: skip


def draw_inputs(config: transformers.LxmertConfig, seed: int) -> dict[str, np.ndarray]:
    """Odd lengths, and masks with holes."""
    rng = np.random.default_rng(seed)
    text = draw_text(rng, 3, 11, config.vocab_size, config.type_vocab_size)
    return text | draw_regions(rng, 3, 7, config.visual_feat_dim)


def their_inputs(inputs: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {
        "input_ids": torch.tensor(inputs[names.TEXT]).long(),
        "attention_mask": torch.tensor(inputs[names.TEXT_MASK]),
        "token_type_ids": torch.tensor(inputs[names.types_of(names.TEXT)]).long(),
        "visual_feats": torch.tensor(inputs[names.REGIONS]),
        "visual_pos": torch.tensor(inputs[names.BOXES]),
        "visual_attention_mask": torch.tensor(inputs[names.REGION_MASK]),
    }


def draw_labels(config: transformers.LxmertConfig, inputs: dict[str, np.ndarray], seed: int) -> dict:
    """What the class's loss is computed from: labels, and for each of the region head's outputs a confidence too."""
    rng = np.random.default_rng(seed)
    text, regions = inputs[names.TEXT], inputs[names.REGIONS]
    words = np.where(inputs[names.TEXT_MASK] * rng.random(text.shape) > 0.5, text.astype(np.int64), IGNORED)
    classes = {"obj": config.num_object_labels, "attr": config.num_attr_labels}
    labels = {name: rng.integers(0, size, regions.shape[:2]) for name, size in classes.items()}
    labels["feat"] = rng.normal(size=regions.shape).astype(np.float32)
    confidence = {
        name: (inputs[names.REGION_MASK] * rng.random(regions.shape[:2])).astype(np.float32) for name in labels
    }
    return {
        "labels": words,
        "matched_label": rng.integers(0, 2, len(text)),
        "obj_labels": {name: (labels[name], confidence[name]) for name in labels},
        "ans": rng.integers(0, config.num_qa_labels, len(text)),
    }


def their_labels(labels: dict) -> dict:
    return jax.tree.map(torch.tensor, labels)


def our_losses(output: FusionOutput, labels: dict, normaliser: float) -> dict[str, jax.Array]:
    """Words, matching, answers and regions, by the names of their labels (Tan and Bansal 2019, section 3.1)."""
    words = labels["labels"]
    predicted = words != IGNORED
    of_words = cross_entropy(output.logits[names.MLM], np.where(predicted, words, 0)) * predicted
    losses = {
        "labels": of_words.sum() / predicted.sum(),
        "matched_label": cross_entropy(output.logits[names.ITM], labels["matched_label"]).mean(),
        "ans": cross_entropy(output.logits[names.VQA], labels["ans"]).mean(),
    }
    for name, (label, confidence) in labels["obj_labels"].items():
        of_regions = (smooth_l1 if name == "feat" else cross_entropy)(output.logits[names.REGION][name], label)
        losses[name] = normaliser * (of_regions * confidence).mean()
    return losses


def our_loss(output: FusionOutput, labels: dict, normaliser: float) -> jax.Array:
    return sum(our_losses(output, labels, normaliser).values())


def alone(labels: dict, name: str) -> dict:
    """Labels of one loss; what is not sought of regions has a confidence of 0."""
    if name in labels:
        return {name: labels[name]}
    return {"obj_labels": {k: (label, sure * (k == name)) for k, (label, sure) in labels["obj_labels"].items()}}


def check_tokens(output: FusionOutput, theirs, inputs: dict[str, np.ndarray], bound: float) -> None:
    masks = {"text": inputs[names.TEXT_MASK] > 0, "image": inputs[names.REGION_MASK] > 0}
    found = {stream: [*output.hidden[f"{stream}_layers"][stream], *output.hidden["fusion"][stream]] for stream in masks}
    for stream, states in (("text", theirs.language_hidden_states), ("image", theirs.vision_hidden_states)):
        for i, (one, other) in enumerate(zip(found[stream], states, strict=True)):
            close(one, other, bound, masks[stream], f"{stream}, hidden state {i}")
        close(getattr(output, stream), states[-1], bound, masks[stream], f"{stream}, last")
    maps = (
        ("text", output.attention["text_layers"]["text_self_0"], theirs.language_attentions),
        ("image", output.attention["image_layers"]["image_self_0"], theirs.vision_attentions),
        ("text", output.attention["fusion"]["text_cross_0"], theirs.cross_encoder_attentions),
    )
    for stream, ours, attentions in maps:
        for i, (one, other) in enumerate(zip(ours, attentions, strict=True)):
            keep = np.broadcast_to(masks[stream][:, None, :, None], other.shape)
            close(one, other, bound, keep, f"{stream}, attention {i}")


def check_model(pair: Pair, seed: int, bound: float) -> None:
    """Hold every output equal."""
    inputs = draw_inputs(pair.theirs.config, seed)
    theirs = pair.theirs(**their_inputs(inputs), **EVERYTHING)
    output = pair.run(inputs)
    check_tokens(output, theirs, inputs, bound)
    close(output.text, theirs.language_output, bound, inputs[names.TEXT_MASK] > 0)
    close(output.image, theirs.vision_output, bound, inputs[names.REGION_MASK] > 0)
    close(output.pooled, theirs.pooled_output, bound, what="pooled")


@pytest.mark.parametrize("seed", seeds(0, 1, 2, 3))
def test_every_token_and_attention_map(convert, seed):
    check_model(convert(transformers.LxmertModel, draw(seed), seed), seed, TINY)


def check_pretraining(pair: Pair, seed: int, bound: float) -> None:
    """Hold every output and the loss equal."""
    config = pair.theirs.config
    inputs = draw_inputs(config, seed)
    labels = draw_labels(config, inputs, seed)
    theirs = pair.theirs(**their_inputs(inputs), **their_labels(labels), **EVERYTHING)
    output = pair.run(inputs)
    check_tokens(output, theirs, inputs, bound)
    close(output.logits[names.MLM][..., : config.vocab_size], theirs.prediction_logits, bound)
    close(output.logits[names.ITM], theirs.cross_relationship_score, bound)
    close(output.logits[names.VQA][:, : config.num_qa_labels], theirs.question_answering_score, bound)
    regions = pair.theirs.obj_predict_head(theirs.vision_hidden_states[-1])
    assert regions.keys() == output.logits[names.REGION].keys()
    for name, logits in regions.items():
        close(output.logits[names.REGION][name], logits, bound, inputs[names.REGION_MASK] > 0, name)
    close(our_loss(output, labels, config.visual_loss_normalizer), theirs.loss, bound)
    for name, loss in our_losses(output, labels, config.visual_loss_normalizer).items():
        expected = pair.theirs(**their_inputs(inputs), **their_labels(alone(labels, name))).loss
        assert expected > 0.1, name
        close(loss, expected, bound, what=name)


@pytest.mark.parametrize("seed", seeds(10, 11))
def test_pretraining(convert, seed):
    check_pretraining(convert(transformers.LxmertForPreTraining, draw(seed), seed), seed, TINY)


def test_every_gradient(convert):
    config = draw(20)
    pair = convert(transformers.LxmertForPreTraining, config, 20)
    inputs = draw_inputs(config, 20)
    labels = draw_labels(config, inputs, 20)
    pair.theirs(**their_inputs(inputs), **their_labels(labels)).loss.backward()
    ours = pair.gradient(inputs, lambda output: our_loss(output, labels, config.visual_loss_normalizer))
    gradients_close(ours, pair.their_gradient())


def check_question_answering(pair: Pair, seed: int, bound: float) -> None:
    """Hold every output and the loss equal."""
    config = pair.theirs.config
    inputs = draw_inputs(config, seed)
    answers = draw_labels(config, inputs, seed)["ans"]
    theirs = pair.theirs(**their_inputs(inputs), labels=torch.tensor(answers), **EVERYTHING)
    output = pair.run(inputs)
    check_tokens(output, theirs, inputs, bound)
    logits = output.logits[names.VQA]
    close(logits[:, : config.num_qa_labels], theirs.question_answering_score, bound)
    close(cross_entropy(logits, answers).mean(), theirs.loss, bound)


def test_question_answering(convert):
    check_question_answering(convert(transformers.LxmertForQuestionAnswering, draw(30), 30), 30, TINY)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(convert, there_and_back, kind):
    config = draw(40)
    pair = convert(getattr(transformers, kind), config, 40)
    inputs = their_inputs(draw_inputs(config, 40))
    again = there_and_back(pair).theirs(**inputs).to_tuple()
    for one, other in zip(again, pair.theirs(**inputs).to_tuple(), strict=True):
        assert torch.equal(one, other)


def test_number_of_parameters():
    spec = lxmert.spec(hyperparameters("lxmert"), Given(30522, 9500, 20, (0, 0)))
    shapes = param_shapes(spec, ())
    padding = (spec.inputs[0].padded_vocab - 30522) * 768
    assert sum(map(np.prod, shapes.values())) - padding == pytest.approx(207.94e6, abs=5e3)
