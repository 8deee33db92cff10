"""Searches over a known distribution, and what a model's decoder is run for."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.partitioned import unbox
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.generate import Search, beam_search, generate, greedy_search
from vlfusion_jax.models.inputs import input_shapes

VOCAB, END, PAD, LENGTH = 4, 3, 0, 5
PROMPT = np.array([[1], [2], [0]], np.int32)


@pytest.fixture(scope="module")
def chain() -> np.ndarray:
    """[words, words] logits of the next word: a Markov chain."""
    return np.random.default_rng(4).normal(size=(VOCAB, VOCAB)).astype(np.float32)


def logits_of(chain: np.ndarray):
    def of(tokens: jax.Array, mask: jax.Array) -> jax.Array:
        last = jnp.take_along_axis(tokens, mask.sum(1, keepdims=True) - 1, axis=1)[:, 0]
        return jnp.asarray(chain)[last]

    return of


def log_probability(chain: np.ndarray, text: tuple[int, ...]) -> float:
    each = np.asarray(jax.nn.log_softmax(chain))
    return sum(float(each[a, b]) for a, b in itertools.pairwise(text))


def all_texts(first: int) -> list[tuple[int, ...]]:
    """That end, or are as long as can be."""
    words = [word for word in range(VOCAB) if word != END]
    texts = []
    for count in range(LENGTH - 1):
        for middle in itertools.product(words, repeat=count):
            texts.append((first, *middle, END))
            if count == LENGTH - 2:
                texts += [(first, *middle, word) for word in words]
    return texts


def kept(tokens: jax.Array, mask: jax.Array) -> list[tuple[int, ...]]:
    return [tuple(row[keep > 0].tolist()) for row, keep in zip(np.asarray(tokens), np.asarray(mask), strict=True)]


def test_many_beams_find_the_most_probable_text(chain):
    search = Search(END, PAD, beams=81, max_length=LENGTH, length_penalty=0.0)
    found = kept(*beam_search(logits_of(chain), jnp.asarray(PROMPT), search))
    for (first,), text in zip(PROMPT.tolist(), found, strict=True):
        assert text == max(all_texts(first), key=partial(log_probability, chain))


def test_greedy_takes_the_best_next_word(chain):
    found = kept(*greedy_search(logits_of(chain), jnp.asarray(PROMPT), Search(END, PAD, max_length=LENGTH)))
    for (first,), text in zip(PROMPT.tolist(), found, strict=True):
        expected = [first]
        while expected[-1] != END and len(expected) < LENGTH:
            expected.append(int(chain[expected[-1]].argmax()))
        assert text == tuple(expected)


@pytest.mark.parametrize("beams", [1, 2])
def test_other_rows_do_not_matter(chain, beams):
    search = Search(END, PAD, beams=beams, max_length=LENGTH)
    find = beam_search if beams > 1 else greedy_search
    together = kept(*find(logits_of(chain), jnp.asarray(PROMPT), search))
    alone = [kept(*find(logits_of(chain), jnp.asarray(PROMPT[i : i + 1]), search))[0] for i in range(len(PROMPT))]
    assert together == alone


def test_a_prompt_without_room_is_refused(chain):
    with pytest.raises(UserError, match="max_length 1 leaves no room behind a prompt of 1 tokens"):
        greedy_search(logits_of(chain), jnp.asarray(PROMPT), Search(END, PAD, max_length=1))


def test_images_are_encoded_once():
    """No step of the search reads pixels, or keeps a copy of an image's keys for each beam."""
    model = hyperparameters("blip", "tiny")
    spec = FAMILIES["blip"].spec(model, Given(50, 1, 8, (30, 60)))
    images, beams, patches, pixels = 2, 3, 2 * 4, 3 * 15 * 15
    shapes = input_shapes(spec.inputs, images)
    variables = jax.eval_shape(lambda x: FusionModel(spec).init(jax.random.key(0), x, (names.CAPTION,)), shapes)

    def write(variables, inputs):
        encoded = FusionModel(spec).apply(variables, inputs)
        prompt = jnp.ones((images, 1), jnp.int32)
        search = Search(END, PAD, beams, max_length=LENGTH)
        return generate(FusionModel(spec), variables["params"], encoded, names.CAPTION, prompt, search)

    read = {name: shapes[name] for name in (names.IMAGE, names.IMAGE_MASK)}
    program = jax.make_jaxpr(write)(unbox(variables), read).jaxpr
    [loop] = [equation for equation in program.eqns if equation.primitive.name == "while"]
    inside = _shapes(loop.params["body_jaxpr"].jaxpr)
    assert (images, patches, pixels) in _shapes(program)
    assert not any(pixels in shape for shape in inside)
    keys = {shape for shape in inside if shape[-2:] == (1 + patches, model.text_width // model.text_heads)}
    assert keys == {(images, model.text_heads, 1 + patches, model.text_width // model.text_heads)}


def _shapes(jaxpr) -> list[tuple[int, ...]]:
    found = [variable.aval.shape for equation in jaxpr.eqns for variable in equation.outvars]
    for equation in jaxpr.eqns:
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                found += _shapes(inner)
    return found
