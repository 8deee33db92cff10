"""Cells of images against loops in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from vlfusion_jax.ops.cells import mean_colours, pick_cells, replace_cells

HIDDEN = np.array([[1, 4, -1], [0, -1, -1], [-1, -1, -1]])


@pytest.mark.parametrize("vector", [0.0, np.arange(4.0)])
def test_replace(vector):
    cells = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
    expected = cells.copy()
    for row, numbers in enumerate(HIDDEN):
        for number in numbers[numbers >= 0]:
            expected[row, number] = vector
    np.testing.assert_array_equal(replace_cells(cells, HIDDEN, vector), expected)
    low = replace_cells(jnp.asarray(cells, jnp.bfloat16), HIDDEN, vector)
    assert low.dtype == jnp.bfloat16


@pytest.mark.parametrize("rest", [(), (4,), (2, 3)])
def test_pick(rest):
    cells = np.random.default_rng(0).normal(size=(3, 5, *rest)).astype(np.float32)
    expected = np.stack([[cells[n, max(number, 0)] for number in numbers] for n, numbers in enumerate(HIDDEN)])
    np.testing.assert_array_equal(pick_cells(cells, HIDDEN), expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_mean_colours(dtype):
    rng = np.random.default_rng(1)
    image, patch = rng.integers(256, size=(2, 9, 13, 3)).astype(np.uint8), 4  # a row and a column that fit no patch
    image[0, :4, :4] = 255
    mask = np.zeros((2, 9, 13), np.uint8)
    mask[0], mask[1, :6, :5] = 1, 1
    expected = np.zeros((2, 6, 3), int)
    for n, row, column in np.ndindex(2, 2, 3):
        window = np.s_[n, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
        pixels = image[window][mask[window] > 0].astype(int)
        if len(pixels):
            expected[n, row * 3 + column] = pixels.sum(0) // len(pixels)
    shown = image if dtype == np.uint8 else (image / 255).astype(dtype)
    found = np.asarray(mean_colours(shown, mask, patch))
    if dtype == np.uint8:
        np.testing.assert_array_equal(found, expected)
        assert found.max() == 255
        assert not found[1, 2:3].any()
    else:  # a mean that is a whole number may be rounded to either side of it
        assert (np.abs(found - expected) <= 1).all()
        assert (found == expected).mean() > 0.8
