"""Pixels and masks as the image processors of `transformers` make them."""

import numpy as np
import pytest
from PIL import Image
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

from vlfusion_jax.data.images import Canvas, place
from vlfusion_jax.ops.masks import normalise_pixels

SHAPES = [(480, 640), (640, 480), (97, 301), (900, 150), (384, 384), (33, 40)]


def photo(shape: tuple[int, int]) -> np.ndarray:
    """Noise over a gradient, so that resampling shows."""
    rng = np.random.default_rng(sum(shape))
    coarse = rng.integers(256, size=(7, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))


def check(processor, shape: tuple[int, int], canvas: Canvas) -> None:
    theirs = processor(photo(shape), return_tensors="np")
    pixels, mask = place(photo(shape), canvas)
    ours = normalise_pixels(pixels[None], mask[None], np.float32, processor.image_mean, processor.image_std)
    height, width = theirs["pixel_values"].shape[2:]
    np.testing.assert_allclose(
        ours[:, :height, :width].transpose(0, 3, 1, 2), theirs["pixel_values"], atol=1e-5, rtol=0
    )
    if "pixel_mask" in theirs:
        np.testing.assert_array_equal(mask[None, :height, :width], theirs["pixel_mask"])
    assert not mask[height:].any()
    assert not mask[:, width:].any()


@pytest.mark.parametrize("shape", SHAPES)
def test_vilt(shape):
    check(ViltImageProcessorPil(), shape, Canvas((608, 608), "shorter", 384, 32))


@pytest.mark.parametrize("shape", SHAPES)
def test_blip(shape):
    check(BlipImageProcessorPil(), shape, Canvas((384, 384), "stretch"))


@pytest.mark.parametrize("shape", SHAPES)
def test_clip(shape):
    check(CLIPImageProcessorPil(), shape, Canvas((224, 224), "crop"))
