"""Random texts and regions, for models that read regions of a detector."""

import numpy as np

from vlfusion_jax.core import names


def draw_text(
    rng: np.random.Generator, rows: int, tokens: int, vocab: int, types: int, holes: bool = True
) -> dict[str, np.ndarray]:
    """Texts with types, every position to be predicted, and masks with holes, or of texts that end early."""
    lengths = rng.integers(3, tokens + 1, (rows, 1))
    mask = rng.random((rows, tokens)) < 0.7 if holes else np.arange(tokens) < lengths
    mask[:, 0] = True
    return {
        names.TEXT: rng.integers(0, vocab, (rows, tokens)).astype(np.int32),
        names.TEXT_MASK: mask.astype(np.int32),
        names.types_of(names.TEXT): rng.integers(0, types, (rows, tokens)).astype(np.int32),
        names.MLM_POSITIONS: np.tile(np.arange(tokens, dtype=np.int32), (rows, 1)),
    }


def draw_regions(rng: np.random.Generator, images: int, count: int, features: int) -> dict[str, np.ndarray]:
    """Vectors, boxes inside the image, and masks with holes."""
    mask = rng.random((images, count)) < 0.7
    mask[:, 0] = True
    corners = np.sort(rng.random((images, count, 2, 2), np.float32), axis=2)
    return {
        names.REGIONS: rng.normal(size=(images, count, features)).astype(np.float32),
        names.BOXES: corners.reshape(images, count, 4),
        names.REGION_MASK: mask.astype(np.int32),
    }
