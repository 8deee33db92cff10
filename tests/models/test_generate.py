"""What a decoder writes with keys and values kept, against what it writes where all is read again at every step."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.core.partitioned import unbox
from vlfusion_jax.core.tree import path_name
from vlfusion_jax.models.beams import beam_search
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.generate import generate
from vlfusion_jax.models.inputs import input_shapes
from vlfusion_jax.models.search import Search, Written, single_search

VOCAB, END, PAD, LENGTH, IMAGES = 50, 3, 0, 10, 2
PROMPT = np.array([[7, 8, 9, 4], [7, 5, PAD, PAD], [7, PAD, PAD, PAD], [7, 11, 12, PAD]], np.int32)  # two an image
MASK = (PROMPT != PAD).astype(np.int32)
SEARCHES = {
    "greedy": Search(END, PAD, max_length=LENGTH, repetition_penalty=1.3),
    "beams": Search(END, PAD, 3, LENGTH, min_length=4),
    "few beams": Search(END, PAD, 2, LENGTH, early_stopping=True, length_penalty=2.0),
    "draws": Search(END, PAD, max_length=LENGTH, top_p=0.9, temperature=1.5),
}


@pytest.fixture(scope="module")
def make_writer():
    """Function of settings -> a model, parameters, and images and questions to it; what it writes varies."""

    def make(variant: str = "captioning", **settings: Any) -> tuple[FusionModel, Any, dict, str]:
        model = hyperparameters("blip", "tiny", variant=variant, **settings)
        module = FusionModel(FAMILIES["blip"].spec(model, Given(VOCAB, 1, 8, (30, 60))))
        head = {"captioning": names.CAPTION, "vqa": names.ANSWER}[variant]
        rng, shapes = np.random.default_rng(0), input_shapes(module.spec.inputs, IMAGES)
        variables = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, (head,)), shapes)

        def fill(path: tuple, x: jax.ShapeDtypeStruct) -> np.ndarray:
            path = path_name(path)
            scale, around = 0.4 if "_cross/" in path else 0.2, float(path.endswith("scale"))
            return rng.normal(around, scale, x.shape).astype(np.float32)  # so that what is read matters

        params = jax.tree_util.tree_map_with_path(fill, unbox(variables)["params"])
        params[f"{names.HEAD}{head}"]["bias"][END] += 2.5
        read = {
            names.IMAGE: rng.integers(256, size=(IMAGES, 30, 60, 3)).astype(np.uint8),
            names.IMAGE_MASK: np.ones((IMAGES, 30, 60), np.uint8),
        }
        if variant == "vqa":
            texts = {names.TEXT: rng.integers(1, VOCAB, (len(PROMPT), 5)), names.TEXT_MASK: np.tri(4, 5, 1, np.int32)}
            read |= texts
        return module, params, read, head

    return make


def keys_of(rows: int) -> jax.Array:
    return jax.random.split(jax.random.key(5), rows)


@partial(jax.jit, static_argnums=range(3))
def write(module: FusionModel, head: str, search: Search, params, read, prompt, mask, keys) -> Written:
    encoded = module.apply({"params": params}, read)
    return generate(module, params, encoded, head, prompt, mask, search, keys)


@partial(jax.jit, static_argnums=range(3))
def write_anew(module: FusionModel, head: str, search: Search, params, read, prompt, mask, keys) -> Written:
    """Reads whole texts at every step; memory is the texts, [rows, 1, length, 1]."""
    encoded = module.apply({"params": params}, read)
    room = search.max_length

    def next_of(tokens: jax.Array, places: jax.Array, texts: jax.Array) -> tuple[jax.Array, jax.Array]:
        texts = texts.at[jnp.arange(len(tokens)), 0, places, 0].set(tokens)
        target = {
            names.TARGET: texts[:, 0, :, 0],
            names.mask_of(names.TARGET): (jnp.arange(room) <= places[:, None]).astype(jnp.int32),
        }
        logits = module.apply({"params": params}, target, (head,), encoded=encoded).logits[head]
        return logits[jnp.arange(len(tokens)), places], texts

    texts = jnp.pad(prompt, ((0, 0), (0, room - prompt.shape[1])))[:, None, :, None]
    if search.beams > 1:
        return beam_search(next_of, texts, prompt, mask, search)
    return single_search(next_of, texts, prompt, mask, search, keys)


UNROLLED, QUESTIONS = {"scan_layers": False}, {"variant": "vqa", "remat": "none"}


@pytest.mark.parametrize(
    ("settings", "how"),
    [*(({}, how) for how in SEARCHES), (UNROLLED, "beams"), (QUESTIONS, "draws"), (QUESTIONS | UNROLLED, "few beams")],
    ids=str,
)
def test_what_is_kept_is_what_would_be_read(make_writer, settings, how):
    module, params, read, head = make_writer(**settings)
    arguments = (module, head, SEARCHES[how], params, read, PROMPT, MASK, keys_of(len(PROMPT)))
    found, expected = write(*arguments), write_anew(*arguments)
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_array_equal(found.mask, expected.mask)
    np.testing.assert_allclose(found.log_probs, expected.log_probs, atol=1e-5)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    np.testing.assert_array_equal(np.where(MASK, found.tokens[:, :4], PAD), PROMPT)
    assert len(set(map(bytes, np.asarray(found.tokens)))) == len(PROMPT)


@pytest.mark.parametrize("how", ["greedy", "beams", "draws"])
def test_a_text_is_what_it_is_alone(make_writer, how):
    module, params, read, head = make_writer()
    keys = keys_of(len(PROMPT))
    together = write(module, head, SEARCHES[how], params, read, PROMPT, MASK, keys)
    for i in (0, 2):  # the longest prompt and the shortest one
        own = {name: x[i // 2 : i // 2 + 1] for name, x in read.items()}
        prompt = PROMPT[i : i + 1, : MASK[i].sum()]
        alone = write(module, head, SEARCHES[how], params, own, prompt, np.ones_like(prompt), keys[i : i + 1])
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[i])
        np.testing.assert_allclose(alone.scores[0], together.scores[i], atol=1e-5)


def test_images_are_encoded_once(make_writer):
    """No step of the search reads pixels, projects an image's keys, or reads more than a token a beam."""
    module, params, read, head = make_writer()
    patches, pixels, beams = 2 * 4, 3 * 15 * 15, 3
    search = Search(END, PAD, beams, LENGTH)
    program = jax.make_jaxpr(partial(write, module, head, search))(params, read, PROMPT, MASK, keys_of(4)).jaxpr
    [program] = [equation.params["jaxpr"].jaxpr for equation in program.eqns]
    [loop] = [equation for equation in program.eqns if equation.primitive.name == "while"]
    inside, outside = _shapes(loop.params["body_jaxpr"].jaxpr), _shapes(program)
    heads, width = 2, 32
    assert (IMAGES, patches, pixels) in outside
    assert (IMAGES, heads, 1 + patches, width // heads) in outside
    assert not any(pixels in shape for shape in inside)
    assert not any(shape[-2:] == (1 + patches, width // heads) for shape in inside)
    assert (4 * beams, 1, width) in inside
    assert {shape[1] for shape in inside if shape[0] == 4 * beams and shape[2:] == (width,)} == {1}


def _shapes(jaxpr) -> list[tuple[int, ...]]:
    found = [variable.aval.shape for equation in jaxpr.eqns for variable in equation.outvars]
    found = [shape or (0,) for shape in found]
    for equation in jaxpr.eqns:
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                found += _shapes(inner)
    return found
