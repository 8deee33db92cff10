"""Pixels and masks as the image processors of `transformers` make them."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image
from transformers import AutoImageProcessor
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.bridgetower.image_processing_pil_bridgetower import BridgeTowerImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from vlfusion_jax.convert.images import Reading, pixel_statistics, processor_of, reading_of
from vlfusion_jax.convert.source import PROCESSOR
from vlfusion_jax.data.images import Canvas, place
from vlfusion_jax.layers.convnet import IMAGENET
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.ops.masks import normalise_pixels

SHAPES = [(480, 640), (640, 480), (97, 301), (900, 150), (384, 384), (33, 40)]


def photo(shape: tuple[int, int]) -> np.ndarray:
    """Noise over a gradient, so that resampling shows."""
    rng = np.random.default_rng(sum(shape))
    coarse = rng.integers(256, size=(7, 9, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BICUBIC))


def check(processor, shape: tuple[int, int], canvas: Canvas, statistics: tuple = ()) -> None:
    """Ours on `canvas`, with `statistics` = (mean, deviation) or the processor's, against theirs."""
    theirs = processor(photo(shape), return_tensors="np")
    pixels, mask = place(photo(shape), canvas)
    ours = normalise_pixels(
        pixels[None], mask[None], np.float32, *(statistics or (processor.image_mean, processor.image_std))
    )
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


RESNET = {"image_mean": IMAGENET["mean"], "image_std": IMAGENET["std"]}
# Class, family, side of the model's images, and what its processor is asked beside its defaults.
READ = {
    "bridgetower": (BridgeTowerImageProcessorPil, "bridgetower", 288, {}),
    "bridgetower sides": (
        BridgeTowerImageProcessorPil, "bridgetower", 96,
        {"size": {"shortest_edge": 131}, "crop_size": {"shortest_edge": 96}, "size_divisor": 16},
    ),
    "vit": (ViTImageProcessorPil, "vit", 224, {}),
    "vit bicubic": (
        ViTImageProcessorPil, "vit", 96,
        {"size": 96, "resample": 3, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.9, 0.8, 0.7]},
    ),
    "vit as it is": (ViTImageProcessorPil, "vit", 224, {"do_normalize": False, "resample": 1}),
    "siglip": (SiglipImageProcessorPil, "siglip", 224, {}),
    "blip": (BlipImageProcessorPil, "blip", 384, {}),
    "clip": (CLIPImageProcessorPil, "clip", 224, {}),
    "clip sides": (
        CLIPImageProcessorPil, "clip", 64, {"size": {"shortest_edge": 101}, "crop_size": 64, "resample": 4},
    ),
    "clip larger than the image": (CLIPImageProcessorPil, "clip", 96, {"size": 51, "crop_size": 96}),
    "clip stretched": (CLIPImageProcessorPil, "clip", 64, {"size": {"height": 64, "width": 64}, "crop_size": 64}),
    "resnet": (ConvNextImageProcessorPil, "resnet", 224, {"size": 224, "crop_pct": 0.875, **RESNET}),
    "resnet sides": (ConvNextImageProcessorPil, "resnet", 224, {"size": {"shortest_edge": 96}, "crop_pct": 0.7}),
    "resnet stretched": (ConvNextImageProcessorPil, "resnet", 224, {}),
    "vilt": (ViltImageProcessorPil, "vilt", 384, {}),
    "vilt sides": (ViltImageProcessorPil, "vilt", 384, {"size": {"shortest_edge": 256}, "size_divisor": 64}),
}  # fmt: skip


def read(content: dict, family: str, side: int) -> Reading:
    model = hyperparameters(family, "tiny", patch_size=32) if family != "resnet" else hyperparameters(family, "tiny")
    with model.unlocked():
        model.update(pixel_statistics(content, family))
    return reading_of(content, family, model, FAMILIES[family].spec(model, Given(9, 2, 8, (side, side))))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("case", READ)
def test_a_stored_processor(case, shape, tmp_path):
    """Read from its file, it makes the same images; and so does what is written for our canvas, loaded by its name."""
    kind, family, side, asked = READ[case]
    processor = kind(**asked)
    processor.save_pretrained(tmp_path / "theirs")
    reading = read(json.loads((tmp_path / "theirs" / PROCESSOR).read_text()), family, side)
    assert not reading.departures
    check(processor, shape, reading.canvas, (reading.mean, reading.std))
    model = ConfigDict({"pixel_mean": reading.mean, "pixel_std": reading.std})
    (tmp_path / PROCESSOR).write_text(json.dumps(processor_of(reading.canvas, model, family)))
    check(AutoImageProcessor.from_pretrained(tmp_path), shape, reading.canvas)
