"""Grids of vectors at another resolution."""

import jax
import jax.numpy as jnp
import numpy as np


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


def _cubic_weights(cells: int, size: int) -> np.ndarray:
    """[cells, size]: share of each of `size` grid points in each cell, both sides of the grid being their outer edges.

    The kernel is Keys' (1981, "Cubic convolution interpolation for digital image processing", equation 4) with a =
    -0.75 and is not widened where cells are fewer; points beyond an edge are the edge's, as PyTorch's `bicubic` with
    `align_corners=False` has it.
    """
    a = -0.75
    place = (np.arange(cells) + 0.5) * size / cells - 0.5
    weights = np.zeros((cells, size))
    for step in range(-1, 3):
        point = np.floor(place).astype(int) + step
        x = np.abs(place - point)
        near = ((a + 2) * x - (a + 3)) * x**2 + 1
        far = ((x - 5) * x + 8) * x * a - 4 * a
        np.add.at(weights, (np.arange(cells), point.clip(0, size - 1)), np.where(x <= 1, near, far))
    return weights


def bicubic_grid(grid_rcd: np.ndarray, cells: tuple[int, int]) -> np.ndarray:
    """A grid of learned positions at another resolution, as ViT and CLIP are fine-tuned at one; on the host.

    Args:
      grid_rcd: [rows, columns, width].
      cells: rows and columns of the result.

    Returns:
      [*cells, width] in the grid's dtype.
    """
    down, across = (_cubic_weights(new, old) for new, old in zip(cells, grid_rcd.shape, strict=False))
    return np.einsum("hr,wc,rcd->hwd", down, across, grid_rcd, optimize=True).astype(grid_rcd.dtype)
