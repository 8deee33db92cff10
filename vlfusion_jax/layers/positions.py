"""Where image tokens come from: learned positions of a grid."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.layers.embeddings import Table
from vlfusion_jax.ops.interpolate import stretch_grid


def sincos_2d(key: jax.Array, shape: tuple[int, int], dtype: Any, *, grid: tuple[int, int]) -> jax.Array:
    """Sines and cosines of row and column (Vaswani et al. 2017, section 3.5, in two dims as in ViT's successors).

    Where the position table starts: products of two positions then fall with their distance from the first step on.
    Half of the width is for rows, half for columns; a width that does not divide by 4 leaves zeros at the end.
    """
    del key
    quarter = shape[1] // 4
    frequency = 1.0 / 10_000 ** (jnp.arange(quarter) / max(1, quarter))
    rows, columns = jnp.divmod(jnp.arange(shape[0]), grid[1])
    parts = [f(place[:, None] * frequency) for place in (rows, columns) for f in (jnp.sin, jnp.cos)]
    return jnp.pad(jnp.concatenate(parts, axis=1), ((0, 0), (0, shape[1] - 4 * quarter))).astype(dtype)


class GridPositions(nn.Module):
    """A learned vector for each cell of the grid, in raster order: [rows * columns, width].

    Attributes:
      sincos: begin with `sincos_2d`, not with random numbers.
    """

    grid: tuple[int, int]
    width: int
    sincos: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self) -> jax.Array:
        size = self.grid[0] * self.grid[1]
        init = {"init": partial(sincos_2d, grid=self.grid)} if self.sincos else {}
        return Table(size, self.width, names.POSITIONS, self.dtype, name="positions", **init)()


class StretchedPositions(nn.Module):
    """The learned grid, stretched bilinearly over the valid part of each image (ViLT, Kim et al. 2021, appendix).

    Attributes:
      grid: rows and columns of the table.
      cells: rows and columns of the canvas.
    """

    grid: tuple[int, int]
    cells: tuple[int, int]
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, mask_nc: jax.Array) -> jax.Array:
        """Mask [images, cells], whose valid cells are a rectangle in the upper left → [images, cells, width]."""
        rows, columns = self.grid
        table = Table(rows * columns, self.width, names.POSITIONS, self.dtype, name="positions")()
        mask = mask_nc.reshape(-1, *self.cells) > 0
        heights, widths = mask[:, :, 0].sum(1), mask[:, 0, :].sum(1)
        stretched = stretch_grid(table.reshape(rows, columns, self.width), heights, widths, self.cells)
        return stretched.reshape(*mask_nc.shape, self.width)
