"""ResNet (He et al. 2016, "Deep Residual Learning for Image Recognition"), an image tower alone."""

from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.layers.convnet import TOWERS
from vlfusion_jax.models.families import pixels
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.spec.heads import ClassHead
from vlfusion_jax.models.spec.inputs import ImageInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.pools import Pool
from vlfusion_jax.models.spec.streams import IMAGE

SIZES = {
    "base": {
        "depths": TOWERS["resnet50"]["depths"],  # bottlenecks of each stage
        "channels": TOWERS["resnet50"]["channels"],  # of the stem, then of each stage
        **pixels.IMAGENET,
    },
    "resnet101": {"depths": TOWERS["resnet101"]["depths"]},
    "resnet152": {"depths": TOWERS["resnet152"]["depths"]},
    "tiny": {"depths": (1, 2), "channels": (8, 16, 32)},
}


def spec(model: Any, given: Given) -> ModelSpec:
    """The model of `config.model`."""
    return ModelSpec(
        inputs=(
            ImageInput(
                "resnet", given.image_size, model.channels[-1], channels=model.channels, depths=model.depths,
                projected=False, positions="none", mean=model.pixel_mean, std=model.pixel_std,
            ),
        ),
        steps=(),
        pools=(Pool(IMAGE, "mean"),),
        heads=((names.VQA, ClassHead(given.answers, given.answer_hidden, pad=True)),),
        scan=model.scan_layers,
        remat=model.remat,
    )  # fmt: skip
