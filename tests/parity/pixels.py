"""Images for models that read them whole, as ours and as theirs."""

import numpy as np
import torch

from vlfusion_jax.core import names

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def draw_images(rng: np.random.Generator, images: int, side: int) -> dict[str, np.ndarray]:
    """Square images without padding."""
    return {
        names.IMAGE: rng.random((images, side, side, 3), np.float32),
        names.IMAGE_MASK: np.ones((images, side, side), np.uint8),
    }


def pixels_of(inputs: dict[str, np.ndarray]) -> torch.Tensor:
    """The images as CLIP normalises them, channels first."""
    pixels = (inputs[names.IMAGE] - np.float32(MEAN)) / np.float32(STD)
    return torch.tensor(pixels.transpose(0, 3, 1, 2))
