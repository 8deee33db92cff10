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


def normalise_pixels(image_nhwc: jax.Array, mask_nhw: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Pixels to [-1, 1] (mean and deviation 0.5, as ViT and ViLT do), zero where padded.

    Args:
      image_nhwc: [images, height, width, 3], uint8 in 0…255 or float in [0, 1].
      mask_nhw: [images, height, width].
      dtype: floating dtype of the result.
    """
    scale = 2 / 255 if image_nhwc.dtype == jnp.uint8 else 2.0
    return jnp.where(mask_nhw[..., None] > 0, image_nhwc.astype(dtype) * jnp.asarray(scale, dtype) - 1, 0)
