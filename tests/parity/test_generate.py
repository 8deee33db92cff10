"""Greedy and beam search against `generate` of `transformers`: token by token, and the scores."""

from functools import partial
from typing import Any

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
from vlfusion_jax.models.generate import generate
from vlfusion_jax.models.search import Search

LENGTH = 12
OTHER_SEARCHES = (
    pytest.param({"length_penalty": 2.0}, marks=pytest.mark.slow),
    {"length_penalty": -1.0},
    pytest.param({"min_length": 7}, marks=pytest.mark.slow),
    pytest.param({"repetition_penalty": 1.7}, marks=pytest.mark.slow),
    pytest.param({"early_stopping": True}, marks=pytest.mark.slow),
    {"early_stopping": True, "repetition_penalty": 1.3, "min_length": 4, "length_penalty": 0.0},
)
LARGER_SEARCHES = (
    pytest.param({"repetition_penalty": 1.3}, marks=pytest.mark.slow),
    pytest.param({"beams": 3}, marks=pytest.mark.slow),
    pytest.param({"beams": 5, "early_stopping": True, "min_length": 8}, marks=pytest.mark.slow),
    {"beams": 5, "length_penalty": 2.0, "repetition_penalty": 1.4},
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
def _write(model: FusionModel, head: str, search: Search, blind: bool, params, read, prompt, mask):
    encoded = model.apply({"params": params}, read)
    if blind:
        encoded = encoded.replace(text_mask=jnp.ones_like(encoded.text_mask))
    return generate(model, params, encoded, head, prompt, mask, search)


def write_ours(
    pair: Pair,
    inputs: dict[str, np.ndarray],
    prompt: np.ndarray,
    mask: np.ndarray | None = None,
    blind: bool = False,
    **how: Any,
) -> tuple[list[list[int]], np.ndarray]:
    """Texts up to their end, and their scores; `blind`: the decoder does not see the mask of the question."""
    text = pair.theirs.config.text_config
    search = Search(text.sep_token_id, text.pad_token_id, max_length=LENGTH, **how)
    read = {name: x for name, x in inputs.items() if not name.startswith(names.TARGET)}
    model, mask = FusionModel(pair.ours.spec), np.ones_like(prompt) if mask is None else mask
    made = _write(model, pair.ours.heads[0], search, blind, nested(pair.ours.params), read, prompt, mask)
    tokens, kept = map(np.asarray, made[:2])
    assert tokens.shape == (len(prompt), LENGTH)
    assert (tokens[kept == 0] == text.pad_token_id).all()
    return [row[: keep.sum()].tolist() for row, keep in zip(tokens, kept, strict=True)], np.asarray(made.scores)


def write_theirs(
    pair: Pair, inputs: dict[str, np.ndarray], prompt: np.ndarray, beams: int = 1, **how: Any
) -> tuple[list[list[int]], np.ndarray | None]:
    """Texts and, of beams, their scores."""
    end = pair.theirs.config.text_config.sep_token_id
    if pair.ours.architecture == CAPTIONING:  # drops what stands last, which is the end in what its processor gives
        read = {"input_ids": torch.tensor(np.pad(prompt, ((0, 0), (0, 1)), constant_values=end)).long()}
    else:
        read = dict(zip(("input_ids", "attention_mask"), words_of(inputs, names.TEXT), strict=True))
    options = {"pixel_values": pixels_of(inputs), "num_beams": beams, "max_length": LENGTH, **read, **how}
    made = pair.theirs.generate(**options, output_scores=True, return_dict_in_generate=True)
    texts = [text[: text.index(end) + 1] if end in text else text for text in made.sequences.tolist()]
    return texts, made.sequences_scores.numpy() if beams > 1 else None


def check_same(ours: tuple, theirs: tuple) -> None:
    assert ours[0] == theirs[0]
    if theirs[1] is not None:
        # Relative too: a negative penalty multiplies the rounding of a sum by its length.
        np.testing.assert_allclose(ours[1], theirs[1], atol=1e-5, rtol=1e-6)


def prompt_of(pair: Pair, inputs: dict[str, np.ndarray], length: int = 1) -> np.ndarray:
    """`length` words, the first of them the one that begins every text."""
    prompt = inputs[names.TARGET][:, :length].copy()
    prompt[:, 0] = pair.theirs.config.text_config.bos_token_id
    return prompt


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("kind", [CAPTIONING, QUESTIONS])
def test_same_texts(make_writer, kind, beams):
    lengths = set()
    for seed in range(3):
        pair = make_writer(kind, seed)
        inputs = draw_inputs(pair.theirs.config, seed, kind)
        prompt = prompt_of(pair, inputs)
        expected = write_theirs(pair, inputs, prompt, beams)
        check_same(write_ours(pair, inputs, prompt, beams=beams), expected)
        lengths |= set(map(len, expected[0]))
    assert len(lengths) > 1


@pytest.mark.parametrize("how", OTHER_SEARCHES, ids=str)
def test_same_texts_in_other_ways(make_writer, how):
    changed = False
    for kind, seed in ((CAPTIONING, 0), (CAPTIONING, 5), (QUESTIONS, 1), (QUESTIONS, 2)):
        pair = make_writer(kind, seed)
        inputs = draw_inputs(pair.theirs.config, seed, kind)
        prompt = prompt_of(pair, inputs)
        expected = write_theirs(pair, inputs, prompt, 3, **how)
        check_same(write_ours(pair, inputs, prompt, beams=3, **how), expected)
        changed |= expected[0] != write_theirs(pair, inputs, prompt, 3)[0]
    assert changed


@pytest.mark.parametrize("beams", [1, 3])
def test_same_texts_behind_a_prompt(make_writer, beams):
    pair = make_writer(CAPTIONING, 5)
    inputs, how = draw_inputs(pair.theirs.config, 5), {"repetition_penalty": 1.4, "min_length": 6}
    prompt = prompt_of(pair, inputs, 3)
    expected = write_theirs(pair, inputs, prompt, beams, **how)
    check_same(write_ours(pair, inputs, prompt, beams=beams, **how), expected)
    assert [text[:3] for text in expected[0]] == prompt.tolist()


def test_same_answers_to_padded_questions(make_writer):
    """The decoder of theirs reads padding as if it were words."""
    pair = make_writer(QUESTIONS, 1)
    inputs = draw_inputs(pair.theirs.config, 1)
    prompt = prompt_of(pair, inputs)
    expected = write_theirs(pair, inputs, prompt, 3)
    check_same(write_ours(pair, inputs, prompt, blind=True, beams=3), expected)


@pytest.mark.parametrize("how", LARGER_SEARCHES, ids=str)
def test_prompts_of_many_lengths_in_one_batch(make_writer, how):
    """Ours 20 at once, each of an image of its own; theirs one by one, since they would be padded on the left."""
    pair, rows = make_writer(CAPTIONING, 5), 20
    inputs = draw_inputs(pair.theirs.config, 11, rows=rows)
    prompt, lengths = prompt_of(pair, inputs, 6), np.random.default_rng(3).integers(1, 7, rows)
    mask = (np.arange(6) < lengths[:, None]).astype(np.int32)
    texts, scores = write_ours(pair, inputs, prompt, mask, **how)
    options = {"beams": 1, **how}
    for i, length in enumerate(lengths):
        one = {name: x[i : i + 1] for name, x in inputs.items()}
        expected = write_theirs(pair, one, prompt[i : i + 1, :length], **options)
        check_same((texts[i : i + 1], scores[i : i + 1]), expected)
    assert len({tuple(text[length:]) for text, length in zip(texts, lengths, strict=True)}) > 10
    assert len(set(lengths)) == 6
