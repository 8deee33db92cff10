"""Cells of an image, which are its patches or regions, of which some are hidden."""

import jax
import jax.numpy as jnp

from vlfusion_jax.ops.masks import split_patches


def replace_cells(cells_ntf: jax.Array, hidden_np: jax.Array, vector_f: jax.Array | float = 0.0) -> jax.Array:
    """[images, cells, features] with `vector_f` in place of those that `hidden_np` [images, p] numbers; -1 = none."""
    is_hidden = (hidden_np[:, :, None] == jnp.arange(cells_ntf.shape[1])).any(1)
    return jnp.where(is_hidden[..., None], jnp.asarray(vector_f, cells_ntf.dtype), cells_ntf)


def pick_cells(cells_nt: jax.Array, hidden_np: jax.Array) -> jax.Array:
    """Those of [images, cells, ...] that `hidden_np` [images, p] numbers, the first for -1: [images, p, ...]."""
    numbers = jnp.maximum(hidden_np, 0).reshape(*hidden_np.shape, *[1] * (cells_nt.ndim - 2))
    return jnp.take_along_axis(cells_nt, numbers, axis=1)


def mean_colours(image_nhwc: jax.Array, mask_nhw: jax.Array, patch: int) -> jax.Array:
    """Mean of each channel over the valid pixels of each patch, rounded down to a whole number in 0…255.

    Args:
      image_nhwc: [images, height, width, 3], uint8 in 0…255 or float in [0, 1].
      mask_nhw: [images, height, width].
      patch: side, in pixels.

    Returns:
      [images, patches, 3] int32; 0 where a patch has no valid pixel.
    """
    scale = 1 if image_nhwc.dtype == jnp.uint8 else 255
    keep = (mask_nhw > 0)[..., None].astype(jnp.float32)
    levels = split_patches(image_nhwc.astype(jnp.float32) * scale * keep, patch)
    count = split_patches(keep, patch).sum(-1)[..., None]
    total = levels.reshape(*levels.shape[:2], -1, image_nhwc.shape[-1]).sum(2)
    return jnp.floor(total / jnp.maximum(count, 1)).astype(jnp.int32)
