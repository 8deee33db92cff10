"""Image tokens as cells of a grid that lies on the picture as it was given, without the padding around it."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from vlfusion_jax.data.images import Canvas, scale_and_origin
from vlfusion_jax.models.spec.inputs import ImageInput, RegionInput
from vlfusion_jax.ops.masks import keep_tokens, pool_mask


@dataclass(frozen=True)
class Cells:
    """The cells of one picture.

    Attributes:
      shape: rows and columns; cells that hold padding alone are left out.
      of_token: [image tokens] int, the cell of each in raster order; -1 = none, such as of a class token or padding.
      side: height and width of a cell, in pixels of the picture, [2].
      corner: top and left of the first cell, in pixels of the picture, [2]; it may lie outside.
    """

    shape: tuple[int, int]
    of_token: np.ndarray
    side: np.ndarray
    corner: np.ndarray

    def maps(self, weights: np.ndarray) -> np.ndarray:
        """Weights of image tokens [..., tokens] as maps [..., rows, columns] that sum to 1; 0 where no cell has any."""
        flat = np.zeros((*weights.shape[:-1], self.shape[0] * self.shape[1]))
        is_cell = self.of_token >= 0
        flat[..., self.of_token[is_cell]] = weights[..., is_cell]
        total = flat.sum(-1, keepdims=True)
        shares = np.divide(flat, total, out=np.zeros_like(flat), where=total > 0)
        return shares.reshape(*weights.shape[:-1], *self.shape)

    def spread(self, values: np.ndarray, height: int, width: int) -> np.ndarray:
        """Values of the cells [rows, columns] on the `height` x `width` pixels of the picture, bilinear, float32.

        Pixels that the model did not see are 0.
        """
        (tall, wide), (top, left) = self.side, self.corner
        to_cells = (1 / wide, 0, -left / wide, 0, 1 / tall, -top / tall)
        grid = Image.fromarray(values.astype(np.float32))
        return np.asarray(grid.transform((width, height), Image.Transform.AFFINE, to_cells, Image.Resampling.BILINEAR))


def cells_of(spec: ImageInput | RegionInput, mask: np.ndarray, size: tuple[int, int], canvas: Canvas) -> Cells:
    """The cells that a model makes of a picture.

    Args:
      spec: what it reads pictures by.
      mask: [height, width] of the canvas, 1 = picture.
      size: height and width of the picture as given.
      canvas: that it is brought onto.
    """
    stride, first = (spec.stride, spec.cls) if isinstance(spec, ImageInput) else (spec.patch, spec.whole)
    rows, columns = spec.cells if isinstance(spec, ImageInput) else (side // spec.patch for side in spec.size)
    valid = np.asarray(pool_mask(mask[None], stride))[0, :rows, :columns] > 0
    shape = int(valid.any(1).sum()), int(valid.any(0).sum())
    numbers = np.where(valid, np.cumsum(valid).reshape(valid.shape) - 1, -1).reshape(-1)
    if isinstance(spec, ImageInput) and spec.positions == "interpolated":  # its valid tokens come first
        numbers = numbers[np.asarray(keep_tokens(valid.reshape(1, -1), spec.count - spec.cls, None))[0]]
    scale, origin = scale_and_origin(*size, canvas)
    return Cells(shape, np.concatenate([np.full(int(first), -1), numbers]), stride * scale, origin * -scale)
