"""Image masks at token resolution, and pixels under them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from vlfusion_jax.ops.masks import keep_tokens, normalise_pixels, patch_mask, pool_mask, split_patches


@pytest.mark.parametrize(("height", "width", "window"), [(12, 8, 4), (13, 9, 2), (5, 7, 3), (6, 6, 1)])
def test_a_window_is_kept_where_any_pixel_is(height, width, window):
    mask = (np.random.default_rng(height).random((3, height, width)) > 0.8).astype(np.uint8)
    pooled = pool_mask(mask, window)
    expected = torch.nn.functional.max_pool2d(torch.tensor(mask, dtype=torch.float32), window, ceil_mode=True)
    assert pooled.dtype == jnp.uint8
    np.testing.assert_array_equal(pooled, expected)


def test_pixels_go_from_minus_one_to_one_and_padding_to_zero():
    rng = np.random.default_rng(0)
    image = rng.integers(256, size=(2, 4, 5, 3)).astype(np.uint8)
    image[0, 0, 0] = [0, 255, 51]
    mask = np.ones((2, 4, 5), np.uint8)
    mask[1, 2:] = 0
    pixels = normalise_pixels(jnp.asarray(image), mask, jnp.float32)
    np.testing.assert_allclose(pixels, (image / 255 - 0.5) / 0.5 * mask[..., None], atol=1e-6)
    np.testing.assert_allclose(pixels[0, 0, 0], [-1, 1, -0.6], atol=1e-6)
    image_with_holes = np.where(mask[..., None] > 0, image / 255, np.nan).astype(np.float32)
    np.testing.assert_allclose(normalise_pixels(jnp.asarray(image_with_holes), mask, jnp.float32), pixels, atol=1e-6)
    floats = normalise_pixels(jnp.asarray(image / 255, jnp.float32), mask, jnp.float32)
    np.testing.assert_allclose(floats, pixels, atol=1e-6)


def test_patches_in_raster_order():
    image = np.random.default_rng(1).random((2, 13, 17, 3), np.float32)
    mask = (np.random.default_rng(2).random((2, 13, 17)) > 0.95).astype(np.uint8)
    patches, kept = split_patches(jnp.asarray(image), 4), patch_mask(mask, 4)
    assert patches.shape == (2, 3 * 4, 4 * 4 * 3)
    for i, (row, column) in enumerate(np.ndindex(3, 4)):
        here = slice(4 * row, 4 * row + 4), slice(4 * column, 4 * column + 4)
        np.testing.assert_array_equal(patches[:, i], image[:, *here].reshape(2, -1))
        np.testing.assert_array_equal(kept[:, i], mask[:, *here].max((1, 2)))


VALID = np.random.default_rng(3).random((40, 30)) < np.linspace(0, 1, 40)[:, None]  # from none to all


@pytest.mark.parametrize("count", [1, 7, 12, 30])
@pytest.mark.parametrize("seed", [None, 5])
def test_tokens_are_kept_in_order_valid_ones_first(count, seed):
    kept = np.asarray(keep_tokens(VALID.astype(np.int32), count, None if seed is None else jax.random.key(seed)))
    assert kept.shape == (40, count)
    for row, valid in zip(kept, VALID, strict=True):
        chosen = min(count, valid.sum())
        assert valid[row[:chosen]].all()
        assert not valid[row[chosen:]].any()
        assert (np.diff(row[:chosen]) > 0).all()
        assert len(set(row)) == count
        if valid.sum() <= count:
            np.testing.assert_array_equal(row[:chosen], np.flatnonzero(valid))


@pytest.mark.parametrize(("total", "count"), [(30, 7), (30, 29), (13, 12), (30, 15)])
def test_kept_tokens_are_evenly_spread(total, count):
    """Gaps between neighbours differ by one at most, wherever the padding is."""
    places = np.sort(np.random.default_rng(total).permutation(40)[:total])
    mask = np.zeros((1, 40), np.int32)
    mask[0, places] = 1
    ranks = np.searchsorted(places, keep_tokens(mask, count, None)[0])
    assert set(np.diff(ranks)) <= {total // count, -(-total // count)}
    assert ranks[0] < -(-total // count)
    assert total - ranks[-1] <= -(-total // count)


def test_tokens_drawn_at_random():
    """Every token as often as another, the same ones for the same key."""
    mask = np.tile(np.arange(12) < 10, (3000, 1)).astype(np.int32)
    kept, again, other = (keep_tokens(mask, 4, jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(kept, again)
    assert (np.asarray(kept) != other).any()
    counts = np.bincount(np.asarray(kept).ravel(), minlength=12)
    assert not counts[10:].any()
    np.testing.assert_allclose(counts[:10], 1200, atol=5 * np.sqrt(1200 * 0.6))
