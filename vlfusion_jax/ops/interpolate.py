"""Grids of vectors at another resolution."""

import jax
import jax.numpy as jnp


def _bilinear_weights(lengths_n: jax.Array, cells: int, size: int) -> jax.Array:
    """[n, cells, size]: share of each of `size` grid points in each cell, cell 0 and cell length - 1 on the ends.

    Cell i of a side of `length` cells lies at i (size - 1) / (length - 1), as PyTorch's `align_corners=True` has it;
    a side of one cell lies at 0. Cells beyond the length get nothing.
    """
    place = jnp.arange(cells)[None, :] * ((size - 1) / jnp.maximum(lengths_n - 1, 1))[:, None]
    distance = jnp.abs(place[:, :, None] - jnp.arange(size))
    valid = jnp.arange(cells)[None, :, None] < lengths_n[:, None, None]
    return jnp.where(valid, jnp.maximum(0.0, 1.0 - distance), 0.0)


def stretch_grid(grid_rcd: jax.Array, heights_n: jax.Array, widths_n: jax.Array, cells: tuple[int, int]) -> jax.Array:
    """The grid stretched bilinearly over the first `heights` x `widths` cells of each canvas.

    Two small products, one for rows and one for columns: each cell mixes at most four grid points, and the gradient
    needs no scatter.

    Args:
      grid_rcd: [rows, columns, width].
      heights_n, widths_n: [images] int, at most the canvas.
      cells: rows and columns of the canvas.

    Returns:
      [images, *cells, width] in the grid's dtype, zero outside of the valid cells.
    """
    down = _bilinear_weights(heights_n, cells[0], grid_rcd.shape[0]).astype(grid_rcd.dtype)
    across = _bilinear_weights(widths_n, cells[1], grid_rcd.shape[1]).astype(grid_rcd.dtype)
    exact = jax.lax.Precision.HIGHEST
    rows = jnp.einsum("nwc,rcd->nrwd", across, grid_rcd, precision=exact)
    return jnp.einsum("nhr,nrwd->nhwd", down, rows, precision=exact)
