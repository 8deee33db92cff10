"""Image masks at token resolution, and pixels under them."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from vlfusion_jax.ops.masks import normalise_pixels, pool_mask


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
