"""Masked region modelling on the host: which cells of an image to hide.

UNITER (Chen et al. 2020, section 3.2) hides 15 % of the regions, at least one, while the text is shown whole.
"""

import math

import numpy as np


def max_hidden(rate: float, cells: int) -> int:
    """P, the room for hidden cells of an image of `cells`: max(1, ceil(rate * cells))."""
    return max(1, math.ceil(rate * cells))


def shown_patches(mask: np.ndarray, patch: int) -> np.ndarray:
    """Which patches of side `patch` of `mask` [H, W] have a valid pixel: [cells] bool, in raster order."""
    rows, columns = mask.shape[0] // patch, mask.shape[1] // patch
    pixels = mask[: rows * patch, : columns * patch].reshape(rows, patch, columns, patch)
    return pixels.any((1, 3)).reshape(-1)


def hide_cells(shown: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Numbers of the hidden cells, rising, then -1: [P] int32.

    Of the n cells that `shown` [cells] bool has round(rate * n) are hidden, at least one where there is any.
    """
    valid = np.flatnonzero(shown)
    hidden = np.full(max_hidden(rate, len(shown)), -1, np.int32)
    count = min(max(1, round(rate * len(valid))), len(valid))
    hidden[:count] = np.sort(rng.choice(valid, count, replace=False)) if count else []
    return hidden
