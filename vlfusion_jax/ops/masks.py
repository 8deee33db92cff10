"""Masks of images at the resolution of their tokens. 1 = keep."""

import jax
import jax.numpy as jnp


def pool_mask(mask_nhw: jax.Array, window: int) -> jax.Array:
    """Mask of non-overlapping windows: a window is kept where any of its pixels is.

    Args:
      mask_nhw: [images, height, width].
      window: side of the window; height and width are padded with zeros to a multiple of it.

    Returns:
      [images, ceil(height / window), ceil(width / window)], same dtype.
    """
    n, height, width = mask_nhw.shape
    mask_nhw = jnp.pad(mask_nhw, ((0, 0), (0, -height % window), (0, -width % window)))
    rows, columns = mask_nhw.shape[1] // window, mask_nhw.shape[2] // window
    return mask_nhw.reshape(n, rows, window, columns, window).max(axis=(2, 4))


def split_patches(image_nhwc: jax.Array, patch: int) -> jax.Array:
    """[images, height, width, channels] → [images, patches, patch * patch * channels], patches in raster order.

    A rest of height or width that no patch fits into is left out, as by a convolution without padding.
    """
    n, height, width, channels = image_nhwc.shape
    rows, columns = height // patch, width // patch
    grid = image_nhwc[:, : rows * patch, : columns * patch].reshape(n, rows, patch, columns, patch, channels)
    return grid.swapaxes(2, 3).reshape(n, rows * columns, patch * patch * channels)


def patch_mask(mask_nhw: jax.Array, patch: int) -> jax.Array:
    """[images, height, width] → [images, patches], the mask of `split_patches`."""
    rows, columns = mask_nhw.shape[1] // patch, mask_nhw.shape[2] // patch
    return pool_mask(mask_nhw[:, : rows * patch, : columns * patch], patch).reshape(mask_nhw.shape[0], -1)


def keep_tokens(mask_nt: jax.Array, count: int, key: jax.Array | None) -> jax.Array:
    """Which tokens to keep where there is room for `count`: [images, count] indices, valid ones first, in order.

    Of more valid tokens than there is room for, those kept are evenly spread, or with a `key` drawn at random. What
    is kept of an image depends on its own mask alone.
    """
    valid = mask_nt > 0
    total = valid.sum(1, keepdims=True)
    if key is None:
        rank = jnp.cumsum(valid, 1) - 1
        chosen = (rank + 1) * count // jnp.maximum(total, 1) > rank * count // jnp.maximum(total, 1)
    else:
        draw = jnp.where(valid, jax.random.uniform(key, mask_nt.shape), 2.0)
        chosen = jnp.argsort(jnp.argsort(draw, 1), 1) < count
    chosen = valid & (chosen | (total <= count))
    return jnp.argsort(~chosen, axis=1, stable=True)[:, :count]


def normalise_pixels(
    image_nhwc: jax.Array, mask_nhw: jax.Array, dtype: jnp.dtype, mean: tuple = (0.5,) * 3, std: tuple = (0.5,) * 3
) -> jax.Array:
    """(pixels - mean) / std, zero where padded; by default to [-1, 1], as ViT and ViLT do.

    Args:
      image_nhwc: [images, height, width, 3], uint8 in 0…255 or float in [0, 1].
      mask_nhw: [images, height, width].
      dtype: floating dtype of the result.
      mean, std: of each channel, in [0, 1].
    """
    unit = 1 / 255 if image_nhwc.dtype == jnp.uint8 else 1.0
    scale = jnp.asarray([unit / s for s in std], dtype)
    shift = jnp.asarray([m / s for m, s in zip(mean, std, strict=True)], dtype)
    return jnp.where(mask_nhw[..., None] > 0, image_nhwc.astype(dtype) * scale - shift, 0)


def in_order(numbers_bt: jax.Array) -> jax.Array:
    """[batch, queries, keys] booleans: a token sees those of at most its own number; 0 = none does.

    Args:
      numbers_bt: [batch, tokens] integers; a mask of ones lets every token see all.
    """
    return (numbers_bt > 0)[:, None] & (numbers_bt[:, None] <= jnp.maximum(numbers_bt, 1)[..., None])


def order_of(mask_bt: jax.Array) -> jax.Array:
    """Numbers for `in_order` by which the tokens of a mask [batch, tokens] see those before them, and all ones."""
    return jnp.where(mask_bt > 0, jnp.arange(2, mask_bt.shape[1] + 2), 0)
