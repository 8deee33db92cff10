"""Greedy and beam search against `generate` of `transformers`, token by token."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from tests.parity.conftest import Pair
from tests.parity.test_blip import CAPTIONING, QUESTIONS, draw, draw_inputs, pixels_of, words_of
from vlfusion_jax.convert.hugging_face import import_model
from vlfusion_jax.convert.source import open_checkpoint
from vlfusion_jax.core import names
from vlfusion_jax.core.tree import nested
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.generate import Search, generate

LENGTH = 12
OTHER_SEARCHES = (
    {"length_penalty": 2.0},
    {"length_penalty": -1.0},
    {"min_length": 7},
    {"repetition_penalty": 1.7},
    {"early_stopping": True},
    {"early_stopping": True, "repetition_penalty": 1.3, "min_length": 4, "length_penalty": 0.0},
)


@pytest.fixture
def make_writer(convert):
    """Function (kind, seed) -> a pair whose texts vary, and of which some end."""

    def make(kind: str, seed: int) -> Pair:
        pair = convert(getattr(transformers, kind), draw({CAPTIONING: 5, QUESTIONS: 1}[kind], kind), seed)
        decoder = pair.theirs.text_decoder
        with torch.no_grad():
            decoder.bert.embeddings.word_embeddings.weight.mul_(8)
            decoder.cls.predictions.bias[-1] += 4
        pair.theirs.save_pretrained(pair.folder)
        return pair._replace(ours=import_model(open_checkpoint(str(pair.folder))))

    return make


@partial(jax.jit, static_argnums=range(4))
def _write(model: FusionModel, head: str, search: Search, blind: bool, params, read, prompt):
    encoded = model.apply({"params": params}, read)
    if blind:
        encoded = encoded.replace(text_mask=jnp.ones_like(encoded.text_mask))
    return generate(model, params, encoded, head, prompt, search)


def write_ours(pair: Pair, inputs: dict[str, np.ndarray], prompt: np.ndarray, blind: bool = False, **how) -> list:
    """Texts up to their end; `blind`: the decoder does not see the mask of the question."""
    text = pair.theirs.config.text_config
    search = Search(text.sep_token_id, text.pad_token_id, max_length=LENGTH, **how)
    read = {name: x for name, x in inputs.items() if not name.startswith(names.TARGET)}
    made = _write(
        FusionModel(pair.ours.spec), pair.ours.heads[0], search, blind, nested(pair.ours.params), read, prompt
    )
    tokens, mask = map(np.asarray, made)
    assert tokens.shape == (len(prompt), LENGTH)
    assert (tokens[mask == 0] == text.pad_token_id).all()
    return [row[: keep.sum()].tolist() for row, keep in zip(tokens, mask, strict=True)]


def write_theirs(pair: Pair, inputs: dict[str, np.ndarray], prompt: np.ndarray, beams: int = 1, **how) -> list:
    end = pair.theirs.config.text_config.sep_token_id
    if pair.ours.architecture == CAPTIONING:  # drops what stands last, which is the end in what its processor gives
        read = {"input_ids": torch.tensor(np.pad(prompt, ((0, 0), (0, 1)), constant_values=end)).long()}
    else:
        read = dict(zip(("input_ids", "attention_mask"), words_of(inputs, names.TEXT), strict=True))
    options = {"pixel_values": pixels_of(inputs), "num_beams": beams, "max_length": LENGTH, **read, **how}
    texts = pair.theirs.generate(**options).tolist()
    return [text[: text.index(end) + 1] if end in text else text for text in texts]


def prompt_of(pair: Pair, inputs: dict[str, np.ndarray], length: int = 1) -> np.ndarray:
    """`length` words, the first of them the one that begins every text."""
    prompt = inputs[names.TARGET][:, :length].copy()
    prompt[:, 0] = pair.theirs.config.text_config.bos_token_id
    return prompt


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("kind", [CAPTIONING, QUESTIONS])
def test_same_texts(make_writer, kind, beams):
    lengths = set()
    for seed in range(6):
        pair = make_writer(kind, seed)
        inputs = draw_inputs(pair.theirs.config, seed, kind)
        prompt = prompt_of(pair, inputs)
        expected = write_theirs(pair, inputs, prompt, beams)
        assert write_ours(pair, inputs, prompt, beams=beams) == expected
        lengths |= set(map(len, expected))
    assert len(lengths) > 1


@pytest.mark.parametrize("how", OTHER_SEARCHES, ids=str)
def test_same_texts_in_other_ways(make_writer, how):
    changed = False
    for kind, seed in ((CAPTIONING, 0), (CAPTIONING, 5), (QUESTIONS, 1), (QUESTIONS, 2)):
        pair = make_writer(kind, seed)
        inputs = draw_inputs(pair.theirs.config, seed, kind)
        prompt = prompt_of(pair, inputs)
        expected = write_theirs(pair, inputs, prompt, 3, **how)
        assert write_ours(pair, inputs, prompt, beams=3, **how) == expected
        changed |= expected != write_theirs(pair, inputs, prompt, 3)
    assert changed


@pytest.mark.parametrize("beams", [1, 3])
def test_same_texts_behind_a_prompt(make_writer, beams):
    pair = make_writer(CAPTIONING, 5)
    inputs, how = draw_inputs(pair.theirs.config, 5), {"repetition_penalty": 1.4, "min_length": 6}
    prompt = prompt_of(pair, inputs, 3)
    expected = write_theirs(pair, inputs, prompt, beams, **how)
    assert write_ours(pair, inputs, prompt, beams=beams, **how) == expected
    assert [text[:3] for text in expected] == prompt.tolist()


def test_same_answers_to_padded_questions(make_writer):
    """The decoder of theirs reads padding as if it were words."""
    pair = make_writer(QUESTIONS, 1)
    inputs = draw_inputs(pair.theirs.config, 1)
    prompt = prompt_of(pair, inputs)
    expected = write_theirs(pair, inputs, prompt, 3)
    assert write_ours(pair, inputs, prompt, blind=True, beams=3) == expected
