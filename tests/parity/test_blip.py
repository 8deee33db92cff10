"""BLIP against `transformers`: every output, loss and gradient, for configurations drawn from a seed."""

import math
from functools import partial

import jax
import numpy as np
import pytest
import torch
import transformers

from tests.parity.conftest import TINY, Pair, close, gradients_close, seeds
from vlfusion_jax.convert.families.blip import CAPTIONING, QUESTIONS, RETRIEVAL
from vlfusion_jax.core import names
from vlfusion_jax.core.tree import flatten, nested
from vlfusion_jax.models.families import blip
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.pixels import CLIP
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.models.parameters import param_shapes
from vlfusion_jax.ops.losses import smoothed_cross_entropy
from vlfusion_jax.tasks.answer import AnswerWriting
from vlfusion_jax.train.views import run_views

IGNORED = -100


def draw(seed: int, kind: str = CAPTIONING) -> transformers.BlipConfig:
    """A small configuration that is the default in little; text and image differ in all.

    For questions both are of one width: the decoder of theirs reads question states as if they were of the image's.
    """
    rng = np.random.default_rng(seed)

    def tower() -> dict:
        heads = int(rng.integers(2, 5))
        return {
            "num_attention_heads": heads, "hidden_size": heads * int(rng.choice([4, 8])),
            "num_hidden_layers": int(rng.integers(1, 4)), "intermediate_size": int(rng.integers(17, 50)),
            "hidden_act": str(rng.choice(["gelu", "gelu_new", "relu", "silu"])),
            "layer_norm_eps": float(rng.choice([1e-12, 1e-6, 1e-5])),
        }  # fmt: skip

    patch, vocab = int(rng.choice([4, 6])), int(rng.integers(90, 140))
    text, vision = tower(), tower()
    if kind == QUESTIONS:
        vision |= {key: text[key] for key in ("hidden_size", "num_attention_heads")}
    return transformers.BlipConfig(
        text_config=text | {
            "vocab_size": vocab, "max_position_embeddings": int(rng.integers(24, 30)), "bos_token_id": vocab - 2,
            "sep_token_id": vocab - 1, "label_smoothing": float(rng.choice([0.0, 0.1])),
        },
        vision_config=vision | {"patch_size": patch, "image_size": patch * int(rng.integers(3, 6))},
        image_text_hidden_size=int(rng.integers(7, 14)),
    )  # fmt: skip


def draw_inputs(config: transformers.BlipConfig, seed: int, kind: str = "", rows: int = 3) -> dict[str, np.ndarray]:
    """Texts of odd lengths and masks with holes. Word 0 does not occur: theirs gives its vector no gradient.

    Questions are without padding, which the decoder of theirs reads as if it were words: its mask for cross-attention
    is dropped on the way (see `test_padded_questions`).
    """
    rng = np.random.default_rng(seed)
    side = config.vision_config.image_size
    inputs = {
        names.IMAGE: rng.random((rows, side, side, 3), np.float32),
        names.IMAGE_MASK: np.ones((rows, side, side), np.uint8),
    }
    for stream, tokens in ((names.TEXT, 11), (names.TARGET, 9)):
        mask = (rng.random((rows, tokens)) < 0.7).astype(np.int32)
        mask[:, 0] = 1
        inputs[stream] = rng.integers(1, config.text_config.vocab_size, (rows, tokens)).astype(np.int32)
        inputs[names.mask_of(stream)] = np.ones_like(mask) if (kind, stream) == (QUESTIONS, names.TEXT) else mask
    return inputs


def pixels_of(inputs: dict[str, np.ndarray]) -> torch.Tensor:
    pixels = (inputs[names.IMAGE] - np.float32(CLIP["pixel_mean"])) / np.float32(CLIP["pixel_std"])
    return torch.tensor(pixels.transpose(0, 3, 1, 2))


def words_of(inputs: dict[str, np.ndarray], stream: str) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(inputs[stream]).long(), torch.tensor(inputs[names.mask_of(stream)]).long()


def labels_of(inputs: dict[str, np.ndarray]) -> np.ndarray:
    return np.where(inputs[names.mask_of(names.TARGET)] > 0, inputs[names.TARGET], IGNORED).astype(np.int64)


def run_theirs(pair: Pair, inputs: dict[str, np.ndarray], **more):
    """(output, {part: output of text encoder and decoder}) of theirs."""
    parts = {}
    hooks = [
        getattr(pair.theirs, part).register_forward_hook(lambda _, __, out, part=part: parts.update({part: out}))
        for part in ("text_encoder", "text_decoder")
        if hasattr(pair.theirs, part)
    ]
    options = {"pixel_values": pixels_of(inputs), "output_hidden_states": True, "output_attentions": True, **more}
    if pair.ours.architecture == CAPTIONING:
        ids, mask = words_of(inputs, names.TARGET)
        output = pair.theirs(input_ids=ids, attention_mask=mask, labels=torch.tensor(labels_of(inputs)), **options)
    else:
        ids, mask = words_of(inputs, names.TEXT)
        if pair.ours.architecture == QUESTIONS:
            ids_out, mask_out = words_of(inputs, names.TARGET)
            options |= {"decoder_input_ids": ids_out, "decoder_attention_mask": mask_out}
            options |= {"labels": torch.tensor(labels_of(inputs))}
        output = pair.theirs(input_ids=ids, attention_mask=mask, **options)
    for hook in hooks:
        hook.remove()
    return output, parts


def check_stage(
    output: FusionOutput, stage: str, stream: str, theirs, maps: dict[str, str], bound: float = TINY
) -> None:
    """Hidden states and attention maps; `maps`: {our sub-layer: their name}."""
    for i, state in enumerate(theirs.hidden_states[1:]):
        close(output.hidden[stage][stream][i], state, bound, what=f"{stage} layer {i}")
    for name, field in maps.items():
        for i, weights in enumerate(getattr(theirs, field)):
            close(output.attention[stage][f"{stream}_{name}"][i], weights, bound, what=f"{stage} {name} {i}")


def loss_of(logits: jax.Array, inputs: dict[str, np.ndarray], config: transformers.BlipConfig) -> jax.Array:
    """Mean over the next words that are not ignored."""
    text, labels = config.text_config, labels_of(inputs)[:, 1:]
    keep = labels != IGNORED
    losses = smoothed_cross_entropy(
        logits[:, :-1], np.where(keep, labels, 0), text.label_smoothing, text.vocab_size
    )  # fmt: skip
    return (losses * keep).sum() / keep.sum()


def check_image(output: FusionOutput, theirs, bound: float) -> None:
    close(output.embedded["image"], theirs.hidden_states[0], bound)
    check_stage(output, "image_layers", "image", theirs, {"self_0": "attentions"}, bound)
    close(output.image, theirs.last_hidden_state, bound)


BOTH = {"self_0": "attentions", "cross_1": "cross_attentions"}


def check_decoded(pair: Pair, inputs: dict[str, np.ndarray], bound: float) -> None:
    """Hold every output of captioning and of answers equal, and the loss."""
    config = pair.theirs.config
    theirs, parts = run_theirs(pair, inputs)
    output = pair.run(inputs)
    check_image(output, theirs, bound)
    if pair.ours.architecture == QUESTIONS:
        close(output.embedded["text"], parts["text_encoder"].hidden_states[0], bound)
        check_stage(output, "text_layers", "text", parts["text_encoder"], BOTH, bound)
    close(output.embedded["target"], parts["text_decoder"].hidden_states[0], bound)
    check_stage(output, "decoder_layers", "target", parts["text_decoder"], BOTH, bound)
    logits = output.logits[pair.ours.heads[0]]
    close(logits[..., : config.text_config.vocab_size], parts["text_decoder"].logits, bound)
    close(loss_of(logits, inputs, config), theirs.loss, bound)


@pytest.mark.parametrize("seed", seeds(0, 1, 2, 3))
@pytest.mark.parametrize("kind", [CAPTIONING, QUESTIONS])
def test_every_state_map_logit_and_the_loss(convert, kind, seed):
    config = draw(seed, kind)
    check_decoded(convert(getattr(transformers, kind), config, seed), draw_inputs(config, seed, kind), TINY)


def test_padded_questions(convert):
    """The encoder of theirs minds the mask, the decoder reads all of the question: so does ours if told to."""
    config = draw(8, QUESTIONS)
    pair, inputs = convert(transformers.BlipForQuestionAnswering, config, 8), draw_inputs(config, 8)
    assert not inputs[names.TEXT_MASK].all()
    model, variables = FusionModel(pair.ours.spec), {"params": nested(pair.ours.params)}
    target = {name: x for name, x in inputs.items() if name.startswith(names.TARGET)}
    encoded = model.apply(variables, {name: x for name, x in inputs.items() if name not in target}, capture=True)
    _, parts = run_theirs(pair, inputs)
    check_stage(encoded, "text_layers", "text", parts["text_encoder"], BOTH)
    blind = encoded.replace(text_mask=np.ones_like(inputs[names.TEXT_MASK]))
    answer, theirs = (names.ANSWER,), parts["text_decoder"].logits
    as_theirs = model.apply(variables, target, answer, encoded=blind).logits[names.ANSWER]
    close(as_theirs[..., : theirs.shape[-1]], theirs, TINY)
    minded = model.apply(variables, target, answer, encoded=encoded).logits[names.ANSWER]
    np.testing.assert_allclose(minded, pair.run(inputs).logits[names.ANSWER], atol=TINY)
    assert np.abs(minded - as_theirs).max() > 1e-3


def check_retrieval(pair: Pair, inputs: dict[str, np.ndarray], bound: float) -> None:
    """Hold every output of matching and of cosines equal."""
    output = pair.run(inputs)
    theirs, parts = run_theirs(pair, inputs)
    check_image(output, theirs, bound)
    check_stage(output, "text_layers", "text", parts["text_encoder"], BOTH, bound)
    close(output.logits[names.ITM], theirs.itm_score, bound)
    theirs, parts = run_theirs(pair, inputs, use_itm_head=False)
    check_stage(output, "text_layers", blip.ALONE, parts["text_encoder"], {"self_0": "attentions"}, bound)
    close(output.logits[names.CONTRASTIVE]["logits"], theirs.itm_score.T, bound)


@pytest.mark.parametrize("seed", seeds(0, 1, 2, 3))
def test_matching_and_cosines(convert, seed):
    config = draw(seed)
    check_retrieval(convert(transformers.BlipForImageTextRetrieval, config, seed), draw_inputs(config, seed), TINY)


@pytest.mark.parametrize("kind", [CAPTIONING, QUESTIONS])
def test_gradient_of_the_loss(convert, kind):
    config = draw(5, kind)
    pair, inputs = convert(getattr(transformers, kind), config, 5), draw_inputs(config, 5, kind)
    run_theirs(pair, inputs)[0].loss.backward()
    found = pair.gradient(inputs, lambda output: loss_of(output.logits[pair.ours.heads[0]], inputs, config))
    gradients_close(found, pair.their_gradient())


def test_loss_and_gradient_of_the_task(convert):
    """Two questions of each image in one pass; theirs is the mean over all tokens, ours over the questions."""
    config = draw(10, QUESTIONS)
    pair, inputs = convert(transformers.BlipForQuestionAnswering, config, 10), draw_inputs(config, 10, QUESTIONS, 6)
    images, lengths = np.arange(3).repeat(2), np.array([9, 4, 3, 6, 7, 5])
    inputs[names.IMAGE] = inputs[names.IMAGE][images]
    inputs[names.mask_of(names.TARGET)] = mask = (np.arange(9) < lengths[:, None]).astype(np.int32)
    theirs, _ = run_theirs(pair, inputs)
    theirs.loss.backward()

    texts = {name: x for name, x in inputs.items() if name.startswith((names.TEXT, names.TARGET))}
    texts[names.WORD_WEIGHTS] = np.pad(mask[:, 1:], ((0, 0), (0, 1))).astype(np.float32)
    batch = {names.key(names.ANSWERED, name): x for name, x in texts.items()}
    batch |= {name: inputs[name][::2] for name in (names.IMAGE, names.IMAGE_MASK)}
    text, model = config.text_config, FusionModel(pair.ours.spec)
    task = AnswerWriting(text.vocab_size, text.label_smoothing)

    def loss(params):
        output = run_views(model, params, batch, [task], None)[names.ANSWERED]
        return task.loss(output, batch) / task.weight(batch)

    value, found = jax.jit(jax.value_and_grad(loss))(nested(pair.ours.params))
    by_tokens = 6 / (lengths - 1).sum()
    close(value * by_tokens, theirs.loss, TINY)
    gradients_close({path: x * by_tokens for path, x in flatten(found).items()}, pair.their_gradient())


def test_gradient_of_matching_and_cosines(convert):
    config = draw(6)
    pair, inputs = convert(transformers.BlipForImageTextRetrieval, config, 6), draw_inputs(config, 6)
    for use_itm_head in (True, False):
        run_theirs(pair, inputs, use_itm_head=use_itm_head)[0].itm_score.square().sum().backward()

    def loss(output: FusionOutput) -> jax.Array:
        return (output.logits[names.ITM] ** 2).sum() + (output.logits[names.CONTRASTIVE]["logits"] ** 2).sum()

    gradients_close(pair.gradient(inputs, loss), pair.their_gradient())


@pytest.mark.parametrize("kind", [CAPTIONING, QUESTIONS, RETRIEVAL])
def test_there_and_back(convert, there_and_back, kind):
    config = draw(7, kind)
    pair, inputs = convert(getattr(transformers, kind), config, 7), draw_inputs(config, 7, kind)
    (one, its_parts), (other, other_parts) = (run_theirs(each, inputs) for each in (pair, there_and_back(pair)))
    assert its_parts
    close(other.last_hidden_state.detach(), one.last_hidden_state, TINY)
    for part, output in its_parts.items():
        close(other_parts[part].hidden_states[-1].detach(), output.hidden_states[-1], TINY)
    if kind == RETRIEVAL:
        close(other.itm_score.detach(), one.itm_score, TINY)
    else:
        close(other_parts["text_decoder"].logits.detach(), its_parts["text_decoder"].logits, TINY)


@pytest.mark.parametrize("kind", [CAPTIONING, QUESTIONS, RETRIEVAL])
def test_parameters_of_base(kind):
    config = transformers.BlipConfig(text_config={"num_attention_heads": 12})
    with torch.device("meta"):
        theirs = sum(weight.numel() for weight in getattr(transformers, kind)(config).parameters())
    variant = {CAPTIONING: "captioning", QUESTIONS: "vqa", RETRIEVAL: "retrieval"}[kind]
    spec = blip.spec(hyperparameters("blip", variant=variant, temperature=False), Given(30524, 1, 512, (384, 384)))
    heads = {CAPTIONING: (names.CAPTION,), QUESTIONS: (names.ANSWER,), RETRIEVAL: (names.CONTRASTIVE, names.ITM)}[kind]
    shapes = param_shapes(spec, heads)
    words = [shape for path, shape in shapes.items() if shape[0] == 30720]  # tables and biases, padded
    padding = sum((shape[0] - 30524) * math.prod(shape[1:]) for shape in words)
    assert sum(map(math.prod, shapes.values())) - padding == theirs
    if kind == CAPTIONING:
        assert theirs == pytest.approx(223.97e6, rel=1e-4)


@pytest.mark.parametrize("kind", [CAPTIONING, QUESTIONS, RETRIEVAL])
def test_padding_does_not_matter(convert, kind):
    """Longer texts with other words where the masks are 0: the same at every word, vector and logit."""
    config = draw(9, kind)
    pair, inputs = convert(getattr(transformers, kind), config, 9), draw_inputs(config, 9)
    longer = dict(inputs)
    for stream in (names.TEXT, names.TARGET):
        mask = np.pad(inputs[names.mask_of(stream)], ((0, 0), (0, 3)))
        words = np.random.default_rng(9).integers(1, config.text_config.vocab_size, mask.shape).astype(np.int32)
        padded = np.pad(inputs[stream], ((0, 0), (0, 3)))
        longer |= {stream: np.where(mask > 0, padded, words), names.mask_of(stream): mask}
    one, other = pair.run(inputs), pair.run(longer)
    for head in pair.ours.heads:
        if head in (names.CAPTION, names.ANSWER):
            keep = inputs[names.mask_of(names.TARGET)] > 0
            np.testing.assert_allclose(other.logits[head][:, : keep.shape[1]][keep], one.logits[head][keep], atol=1e-5)
        else:
            jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), other.logits[head], one.logits[head])
