"""Padding, neighbours and repetition never change a valid output."""

import itertools
from functools import partial

import jax
import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.models.output import FusionOutput

HEADS = (names.MLM, names.ITM, names.VQA)
KINDS = ("single_stream", "two_stream", "cross_attention")
TOLERANCE = 1e-6


@pytest.fixture(scope="module", params=itertools.product(KINDS, ("patch", "conv"), ("pre", "post")), ids="-".join)
def forward(request, make_spec, random_model):
    """The compiled model, everything captured."""
    kind, tokens, norm = request.param
    model, params = random_model(make_spec(model__family=kind, model__image_tokens=tokens, model__norm=norm))
    apply = jax.jit(partial(model.apply, heads=HEADS, capture=True))
    return lambda inputs: apply({"params": params}, inputs)


def valid_outputs(output: FusionOutput, row: int) -> dict[str, np.ndarray]:
    """What row `row` says at its valid tokens, in their order: outputs, logits, hidden states, attention."""
    keep = {"text": np.asarray(output.text_mask[row]) > 0, "image": np.asarray(output.image_mask[row]) > 0}
    keep["joint"] = np.concatenate([keep["text"], keep["image"]])
    found = {"text": output.text[row][keep["text"]], "image": output.image[row][keep["image"]]}
    found |= {"pooled": output.pooled[row]} | {f"logits/{name}": x[row] for name, x in output.logits.items()}
    for i, hidden in output.hidden.items():
        found |= {f"hidden/{i}/{stream}": x[:, row][:, keep[stream]] for stream, x in hidden.items()}
        for name, weights in output.attention[i].items():
            stream, kind, _ = name.split("_")
            keys = {"text": "image", "image": "text"}[stream] if kind == "cross" else stream
            of_queries = np.asarray(weights)[:, row][:, :, keep[stream]]
            assert not of_queries[..., ~keep[keys]].any(), "a padded token is attended to"
            found[f"attention/{i}/{name}"] = of_queries[..., keep[keys]]
    return {name: np.asarray(x) for name, x in found.items()}


def assert_same(output: FusionOutput, expected: FusionOutput, rows=(0, 1, 2), bound: float = TOLERANCE) -> None:
    for row in rows:
        ours, theirs = valid_outputs(output, row), valid_outputs(expected, row)
        assert ours.keys() == theirs.keys()
        for name, x in ours.items():
            assert x.size
            np.testing.assert_allclose(x, theirs[name], atol=bound, rtol=0, err_msg=name)


def fill_padding(inputs: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """Garbage where the masks are 0."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(256, size=inputs[names.IMAGE].shape).astype(np.uint8)
    words = rng.integers(5, 50, inputs[names.TEXT].shape).astype(np.int32)
    return inputs | {
        names.IMAGE: np.where(inputs[names.IMAGE_MASK][..., None] > 0, inputs[names.IMAGE], pixels),
        names.TEXT: np.where(inputs[names.TEXT_MASK] > 0, inputs[names.TEXT], words),
    }


def test_contents_of_padding(forward, random_inputs):
    inputs = random_inputs(1)
    filled = fill_padding(inputs, 2)
    assert all((filled[name] != inputs[name]).any() for name in (names.IMAGE, names.TEXT))
    assert_same(forward(filled), forward(inputs))


def test_length_of_padding(forward, random_inputs):
    inputs = random_inputs(3)
    longer = inputs | {name: np.pad(inputs[name], ((0, 0), (0, 5))) for name in (names.TEXT, names.TEXT_MASK)}
    assert_same(forward(fill_padding(longer, 4)), forward(inputs))


def test_other_rows_of_the_batch(forward, random_inputs):
    inputs, others = random_inputs(5), random_inputs(6)
    expected = forward(inputs)
    for row in range(3):
        alone = {name: np.where(np.arange(3).reshape(-1, *[1] * (x.ndim - 1)) == row, x, others[name])
                 for name, x in inputs.items()}  # fmt: skip
        assert_same(forward(alone), expected, rows=(row,))


def test_repeated_calls(forward, random_inputs):
    inputs = random_inputs(8)
    for once, again in zip(jax.tree.leaves(forward(inputs)), jax.tree.leaves(forward(inputs)), strict=True):
        np.testing.assert_array_equal(once, again)


def test_what_is_valid_does_matter(forward, random_inputs):
    inputs = random_inputs(9)
    expected = forward(inputs)
    image = np.where(inputs[names.IMAGE_MASK][..., None] > 0, 255 - inputs[names.IMAGE], 0).astype(np.uint8)
    text = inputs[names.TEXT].copy()
    text[:, 1] = text[:, 1] % 40 + 6
    for changed in ({names.IMAGE: image}, {names.TEXT: text}):
        pooled = forward(inputs | changed).pooled
        assert (np.abs(pooled - expected.pooled).max(axis=1) > 1e-3).all()
