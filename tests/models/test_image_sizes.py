"""ViLT on images of several sizes: neither the canvas nor the neighbours change a valid output, nor a repetition."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np
import pytest

from tests.models import test_padding
from tests.models.test_padding import fill_padding
from vlfusion_jax.core import names
from vlfusion_jax.core.tree import nested
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.models.parameters import param_shapes

HEADS = (names.ITM, names.MLM, names.RETRIEVAL, names.VQA)
PATCH, CELLS = 8, (5, 7)  # of the position table: 4 x 4
SIZES = ((40, 56), (17, 56), (24, 24))  # pixels of each image: 35, 21 and 9 patches

assert_same = partial(test_padding.assert_same, bound=5e-6)  # sums of other lengths are rounded otherwise


def make(max_tokens: int, train: bool = False) -> Callable[..., FusionOutput]:
    """Function (inputs, seed=0) -> output of the compiled model with random parameters, everything captured."""
    model = hyperparameters("vilt", "tiny", max_image_tokens=max_tokens)
    spec = FAMILIES["vilt"].spec(model, Given(50, 7, 12, (CELLS[0] * PATCH, CELLS[1] * PATCH)))
    rng = np.random.default_rng(3)
    params = nested({
        path: (path.endswith("scale") + 0.15 * rng.normal(size=shape)).astype(np.float32)
        for path, shape in sorted(param_shapes(spec, HEADS).items())
    })  # fmt: skip
    apply = jax.jit(partial(FusionModel(spec).apply, heads=HEADS, train=train, capture=True))
    return lambda inputs, seed=0: apply({"params": params}, inputs, rngs={names.DROPOUT: jax.random.key(seed)})


@pytest.fixture(scope="module", params=[0, 12], ids=["all_tokens", "twelve_tokens"])
def forward(request) -> Callable[..., FusionOutput]:
    return make(request.param)


def draw(seed: int) -> dict[str, np.ndarray]:
    """Three texts, each with an image of its own size."""
    rng = np.random.default_rng(seed)
    height, width = CELLS[0] * PATCH, CELLS[1] * PATCH
    mask = np.zeros((3, height, width), np.uint8)
    for each, size in zip(mask, SIZES, strict=True):
        each[: size[0], : size[1]] = 1
    text_mask = (np.arange(6) < np.array([[6], [4], [3]])).astype(np.int32)
    return {
        names.IMAGE: rng.integers(256, size=(*mask.shape, 3)).astype(np.uint8) * mask[..., None],
        names.IMAGE_MASK: mask,
        names.TEXT: rng.integers(5, 50, (3, 6)).astype(np.int32) * text_mask,
        names.TEXT_MASK: text_mask,
        names.MLM_POSITIONS: rng.integers(0, 3, (3, 2)).astype(np.int32),
    }


def on_canvas(inputs: dict[str, np.ndarray], rows: int, columns: int, rest: tuple[int, int] = (0, 0)) -> dict:
    """The same images on a canvas larger by so many patches, and a rest in pixels, that hold garbage."""
    below, beside = rows * PATCH + rest[0], columns * PATCH + rest[1]
    larger = {
        names.IMAGE: np.pad(inputs[names.IMAGE], ((0, 0), (0, below), (0, beside), (0, 0))),
        names.IMAGE_MASK: np.pad(inputs[names.IMAGE_MASK], ((0, 0), (0, below), (0, beside))),
    }
    return fill_padding(inputs | larger, 9)


@pytest.mark.parametrize(("rows", "columns", "rest"), [(0, 0, (0, 0)), (2, 0, (0, 0)), (1, 3, (5, 3))])
def test_the_canvas_does_not_matter(forward, rows, columns, rest):
    inputs = draw(1)
    larger = on_canvas(inputs, rows, columns, rest)
    assert (larger[names.IMAGE] != 0).sum() > (inputs[names.IMAGE] != 0).sum()
    assert_same(forward(larger), forward(inputs))


@pytest.mark.parametrize("row", range(3))
def test_an_image_alone_on_a_canvas_of_its_size(forward, row):
    inputs, (height, width) = draw(2), SIZES[row]
    height, width = -(-height // PATCH) * PATCH, -(-width // PATCH) * PATCH
    cut = {name: inputs[name][:, :height, :width] for name in (names.IMAGE, names.IMAGE_MASK)}
    assert_same(forward(inputs | cut), forward(inputs), rows=(row,))


def test_other_rows_do_not_matter(forward):
    inputs, others = draw(3), draw(4)
    expected = forward(inputs)
    turned = {name: np.roll(x, 1, axis=0) for name, x in others.items()}
    for row in range(3):
        alone = {name: np.concatenate([turned[name][:row], x[row : row + 1], turned[name][row + 1 :]])
                 for name, x in inputs.items()}  # fmt: skip
        assert_same(forward(alone), expected, rows=(row,))


def test_repeated_calls(forward):
    inputs = draw(5)
    for once, again in zip(jax.tree.leaves(forward(inputs)), jax.tree.leaves(forward(inputs, 1)), strict=True):
        np.testing.assert_array_equal(once, again)


def places(kept: np.ndarray, tokens: np.ndarray) -> list[int]:
    """Which of an image's tokens were kept."""
    found = np.isclose(kept[:, None], tokens[None], rtol=0, atol=1e-5).all(-1)  # of two programs
    assert (found.sum(1) == 1).all()
    return found.argmax(1).tolist()


@pytest.mark.parametrize("train", [False, True])
def test_which_tokens_are_kept(train):
    """Of too many, evenly spread ones, at random in training; in raster order behind the class token, all of a few."""
    inputs = draw(6)
    all_tokens, some = make(0)(inputs), make(12, train)
    output, again, other = (some(inputs, seed) for seed in (0, 0, 1))
    for once, repeated in zip(jax.tree.leaves(output), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(once, repeated)
    assert output.image.shape[1] == 1 + 12
    drawn = []
    for row, total in enumerate((35, 21, 9)):
        tokens = np.asarray(all_tokens.embedded["image"][row, 1 : 1 + total])
        valid = np.asarray(output.image_mask[row]) > 0
        assert valid.tolist() == [True] * (1 + min(total, 12)) + [False] * (12 - min(total, 12))
        first, second = (places(np.asarray(x.embedded["image"][row])[valid][1:], tokens) for x in (output, other))
        assert first == sorted(first)
        assert second == sorted(second)
        if total <= 12:
            assert first == second == list(range(total))
        elif train:
            drawn += [first, second]
        else:
            assert first == second
            assert set(np.diff(first)) == {total // 12, total // 12 + 1}
    assert len(set(map(tuple, drawn))) == len(drawn)
