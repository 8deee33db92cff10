"""VisualBERT against `transformers`: every output and loss, for configurations drawn from a seed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from tests.parity.conftest import TINY, Pair, close, gradients_close, seeds
from tests.parity.regions import draw_regions, draw_text
from vlfusion_jax.core import names
from vlfusion_jax.layers.norm import LayerNorm
from vlfusion_jax.models.families import visualbert
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.models.parameters import param_shapes
from vlfusion_jax.ops.losses import cross_entropy

KINDS = {
    "VisualBertModel": {},
    "VisualBertForPreTraining": {},
    "VisualBertForQuestionAnswering": {"num_labels": 9},
    "VisualBertForVisualReasoning": {},
}
TOKENS, REGIONS = 11, 7
IGNORED = -100  # label of what no loss is taken of


def draw(seed: int, **more) -> transformers.VisualBertConfig:
    """A small configuration that is the default in nothing."""
    rng = np.random.default_rng(seed)
    heads = int(rng.integers(2, 5))
    return transformers.VisualBertConfig(
        vocab_size=int(rng.integers(90, 140)), hidden_size=heads * int(rng.choice([4, 8])), num_attention_heads=heads,
        num_hidden_layers=int(rng.integers(1, 4)), intermediate_size=int(rng.integers(17, 50)),
        hidden_act=str(rng.choice(["gelu", "gelu_new", "relu", "silu"])),
        max_position_embeddings=int(rng.integers(13, 20)), type_vocab_size=int(rng.integers(2, 4)),
        visual_embedding_dim=int(rng.integers(9, 20)), layer_norm_eps=float(rng.choice([1e-12, 1e-5])), **more,
    )  # fmt: skip


def draw_inputs(config: transformers.VisualBertConfig, seed: int, holes: bool = True) -> dict[str, np.ndarray]:
    """Odd lengths; every token to be predicted, regions' too."""
    rng = np.random.default_rng(seed)
    text = draw_text(rng, 3, TOKENS, config.vocab_size, config.type_vocab_size, holes)
    everywhere = {names.MLM_POSITIONS: np.tile(np.arange(TOKENS + REGIONS, dtype=np.int32), (3, 1))}
    return text | draw_regions(rng, 3, REGIONS, config.visual_embedding_dim) | everywhere


def their_inputs(inputs: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    theirs = {
        "input_ids": torch.tensor(inputs[names.TEXT]).long(),
        "attention_mask": torch.tensor(inputs[names.TEXT_MASK]).long(),
        "token_type_ids": torch.tensor(inputs[names.types_of(names.TEXT)]).long(),
        "visual_embeds": torch.tensor(inputs[names.REGIONS]),
        "visual_attention_mask": torch.tensor(inputs[names.REGION_MASK]).long(),
    }
    if names.ALIGNMENT in inputs:
        theirs["image_text_alignment"] = torch.tensor(inputs[names.ALIGNMENT]).long()
    return theirs


def check_tokens(pair: Pair, inputs: dict[str, np.ndarray], bound: float, **labels) -> tuple:
    """(output of ours, of theirs), their hidden states and attention maps held equal."""
    theirs = pair.theirs(**their_inputs(inputs), **labels, output_hidden_states=True, output_attentions=True)
    output = pair.run(inputs)
    mask = np.concatenate([inputs[names.TEXT_MASK], inputs[names.REGION_MASK]], 1) > 0
    weights = {name: pair.ours.params[f"embedding_norm/norm_out/{name}"] for name in ("scale", "bias")}
    summed = jnp.concatenate([output.embedded["text"], output.embedded["image"]], 1)
    embedded = LayerNorm(pair.ours.model.norm_epsilon).apply({"params": weights}, summed)
    hidden = [embedded, *output.hidden["fusion"]["joint"]]
    for i, (one, other) in enumerate(zip(hidden, theirs.hidden_states, strict=True)):
        close(one, other, bound, mask, f"hidden state {i}")
    for i, (one, other) in enumerate(zip(output.attention["fusion"]["joint_self_0"], theirs.attentions, strict=True)):
        close(one, other, bound, np.broadcast_to(mask[:, None, :, None], other.shape), f"attention {i}")
    return output, theirs


def check(pair: Pair, inputs: dict[str, np.ndarray], bound: float = TINY) -> None:
    """Hold every output of the model, or of its class for pretraining, equal."""
    output, theirs = check_tokens(pair, inputs, bound)
    if pair.ours.heads:
        check_logits(output, theirs, bound)
        return
    mask = np.concatenate([inputs[names.TEXT_MASK], inputs[names.REGION_MASK]], 1) > 0
    close(np.concatenate([output.text, output.image], 1), theirs.last_hidden_state, bound, mask)
    close(output.pooled, theirs.pooler_output, bound, what="pooled")


def check_logits(output: FusionOutput, theirs, bound: float) -> None:
    logits = theirs.prediction_logits
    close(output.logits[names.MLM][..., : logits.shape[-1]], logits, bound, what="words")
    # Theirs calls a text of another image 1.
    close(output.logits[names.ITM][:, ::-1], theirs.seq_relationship_logits, bound, what="matching")


@pytest.mark.parametrize("seed", seeds(0, 1, 2, 3))
def test_every_token_and_attention_map(convert, seed):
    config = draw(seed)
    check(convert(transformers.VisualBertModel, config, seed), draw_inputs(config, seed))


def test_regions_at_the_places_of_words(convert):
    config = draw(5)
    listed = np.random.default_rng(5).integers(-1, TOKENS, (3, REGIONS, 4)).astype(np.int32)
    listed[:, 0] = -1
    inputs = draw_inputs(config, 5)
    pair = convert(transformers.VisualBertModel, config, 5)
    check(pair, inputs | {names.ALIGNMENT: listed})
    assert np.abs(pair.run(inputs | {names.ALIGNMENT: listed}).pooled - pair.run(inputs).pooled).max() > 1e-3


@pytest.mark.parametrize("seed", seeds(10, 11))
def test_pretraining(convert, seed):
    config = draw(seed)
    pair = convert(transformers.VisualBertForPreTraining, config, seed)
    inputs = draw_inputs(config, seed)
    rng = np.random.default_rng(seed)
    words = rng.integers(0, config.vocab_size, (3, TOKENS + REGIONS))
    valid = np.concatenate([inputs[names.TEXT_MASK], inputs[names.REGION_MASK]], 1)
    words = np.where(valid * rng.random(words.shape) > 0.5, words, IGNORED)
    match = rng.integers(0, 2, 3)

    def loss(output):
        of_words = cross_entropy(output.logits[names.MLM], np.where(words == IGNORED, 0, words))
        of_pairs = cross_entropy(output.logits[names.ITM], 1 - match)
        return (of_words * (words != IGNORED)).sum() / (words != IGNORED).sum() + of_pairs.mean()

    labels = {"labels": torch.tensor(words), "sentence_image_labels": torch.tensor(match)}
    theirs = pair.theirs(**their_inputs(inputs), **labels)
    close(loss(pair.run(inputs)), theirs.loss, TINY)
    check(pair, inputs)
    theirs.loss.backward()
    # No padded word is seen, so that theirs trains the word table as ours does.
    assert not (inputs[names.TEXT] * inputs[names.TEXT_MASK] == config.pad_token_id).any()
    gradients_close(pair.gradient(inputs, loss), pair.their_gradient())


def check_question_answering(pair: Pair, seed: int, bound: float) -> None:
    """Hold every output and the loss equal."""
    config = pair.theirs.config
    # Theirs finds the last word by counting the mask.
    inputs = draw_inputs(config, seed, holes=False)
    assert len(set(inputs[names.TEXT_MASK].sum(1))) > 1
    scores = np.random.default_rng(seed).dirichlet(np.ones(config.num_labels), 3).astype(np.float32)
    output, theirs = check_tokens(pair, inputs, bound)
    logits = output.logits[names.VQA]
    close(logits[:, : config.num_labels], theirs.logits, bound)
    divergence = (scores * (np.log(scores) - jax.nn.log_softmax(logits)[:, : config.num_labels])).sum(1)
    # Given labels, theirs returns log-probabilities for logits.
    close(divergence.mean(), pair.theirs(**their_inputs(inputs), labels=torch.tensor(scores)).loss, bound)


def test_question_answering(convert):
    pair = convert(transformers.VisualBertForQuestionAnswering, draw(20, num_labels=9), 20)
    check_question_answering(pair, 20, TINY)


def check_visual_reasoning(pair: Pair, seed: int, bound: float) -> None:
    """Hold every output and the loss equal."""
    inputs, labels = draw_inputs(pair.theirs.config, seed), np.array([0, 1, 1])
    output, theirs = check_tokens(pair, inputs, bound, labels=torch.tensor(labels))
    logits = output.logits[names.NLVR]
    close(logits, theirs.logits, bound)
    close(cross_entropy(logits, labels).mean(), theirs.loss, bound)


def test_visual_reasoning(convert):
    check_visual_reasoning(convert(transformers.VisualBertForVisualReasoning, draw(30), 30), 30, TINY)


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(convert, there_and_back, kind):
    config = draw(40, **KINDS[kind])
    pair = convert(getattr(transformers, kind), config, 40)
    inputs = their_inputs(draw_inputs(config, 40))
    again = there_and_back(pair).theirs(**inputs).to_tuple()
    for one, other in zip(again, pair.theirs(**inputs).to_tuple(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("features", "heads", "millions"), [(512, (), 110.27), (2048, (names.ITM, names.MLM), 112.07)])
def test_number_of_parameters(features, heads, millions):
    model = hyperparameters("visualbert", region_features=features)
    spec = visualbert.spec(model, Given(30522, 1, 20, (0, 0)))
    shapes = param_shapes(spec, heads)
    padding = (spec.inputs[0].padded_vocab - 30522) * (768 + bool(heads))
    assert sum(map(np.prod, shapes.values())) - padding == pytest.approx(millions * 1e6, abs=5e3)
