"""Masked region modelling on the host: which cells of an image to hide.

UNITER (Chen et al. 2020, section 3.2) hides 15 % of the regions, at least one, while the text is shown whole.
"""

import math

import numpy as np


def max_hidden(rate: float, cells: int) -> int:
    """P, the room for hidden cells of an image of `cells`: max(1, ceil(rate * cells))."""
    return max(1, math.ceil(rate * cells))


def hide_cells(mask: np.ndarray, patch: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Numbers of the hidden cells, rising, then -1: [P] int32.

    Cells are the patches of side `patch` of `mask` [H, W], in raster order. Of the n with a valid pixel round(rate * n)
    are hidden, at least one where there is any; those of padding alone never are.
    """
    rows, columns = mask.shape[0] // patch, mask.shape[1] // patch
    pixels = mask[: rows * patch, : columns * patch].reshape(rows, patch, columns, patch)
    valid = np.flatnonzero(pixels.any((1, 3)))
    hidden = np.full(max_hidden(rate, rows * columns), -1, np.int32)
    count = min(max(1, round(rate * len(valid))), len(valid))
    hidden[:count] = np.sort(rng.choice(valid, count, replace=False)) if count else []
    return hidden
