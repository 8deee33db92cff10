"""How a model's images are read, from and to the `preprocessor_config.json` of Hugging Face's `transformers`.

Sizes and resampling are those of its image processors that work with Pillow.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from vlfusion_jax.convert.source import PROCESSOR
from vlfusion_jax.core.arithmetic import longest_side
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.images import AUTO, RESAMPLINGS, Canvas
from vlfusion_jax.models.families import pixels
from vlfusion_jax.models.spec.inputs import ImageInput
from vlfusion_jax.models.spec.model import ModelSpec

Size = tuple[int, int]


def _processor(of: Mapping[str, Any], how: Image.Resampling, size: dict[str, int], **more: Any) -> dict[str, Any]:
    return {"image_mean": of["pixel_mean"], "image_std": of["pixel_std"], "resample": int(how), "size": size, **more}


def _square(side: int) -> dict[str, int]:
    return {"height": side, "width": side}


_BILINEAR, _BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC
# What the classes of image processors do where the file does not say, by the beginning of their names.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "ViT": _processor(pixels.SYMMETRIC, _BILINEAR, _square(224)),
    "Blip": _processor(pixels.CLIP, _BICUBIC, _square(384)),
    "Siglip": _processor(pixels.SYMMETRIC, _BICUBIC, _square(224)),
    "CLIP": _processor(
        pixels.CLIP, _BICUBIC, {"shortest_edge": 224}, do_center_crop=True, crop_size=_square(224)
    ),
    "ConvNext": _processor(pixels.SYMMETRIC, _BICUBIC, {"shortest_edge": 384}, crop_pct=224 / 256),
    "Vilt": _processor(pixels.SYMMETRIC, _BICUBIC, {"shortest_edge": 384}, size_divisor=32),
    "BridgeTower": _processor(
        pixels.CLIP, _BICUBIC, {"shortest_edge": 288}, size_divisor=32, do_center_crop=True, crop_size=_square(288)
    ),
}  # fmt: skip
# The class of each family; METER's and ALBEF's own code does as BLIP's.
_CLASS_OF = {
    "vit": "ViT", "blip": "Blip", "siglip": "Siglip", "clip": "CLIP", "resnet": "ConvNext", "vilt": "Vilt",
    "bridgetower": "BridgeTower", "meter": "Blip", "albef": "Blip",
}  # fmt: skip
_WARPED_FROM = 384  # pixels from which on ConvNext's class stretches and cuts nothing
_TYPE = re.compile(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$")


@dataclass(frozen=True)
class Reading:
    """How the images of a converted model are read.

    Attributes:
      canvas: what they are brought onto.
      mean, std: of the pixels' channels, in [0, 1].
      stored: whether the checkpoint had a file that says so.
      departures: what the file asks for that is not done, each with what is done.
    """

    canvas: Canvas
    mean: tuple[float, ...]
    std: tuple[float, ...]
    stored: bool
    departures: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """For the report."""
        source = f"as {PROCESSOR} says" if self.stored else f"no {PROCESSOR}, so by the family's usual rule"
        return [
            f"images: {source}: {describe(self.canvas)}; mean {self.mean}, deviation {self.std}",
            *(f"images: NOT as {PROCESSOR} says: {departure}" for departure in self.departures),
        ]

    def at(self, size: Size) -> "Reading":
        """The same with a canvas of another size, in pixels; a middle that was cut is then what fills the canvas."""
        resize = "crop" if self.canvas.resize.endswith("crop") else self.canvas.resize
        return replace(self, canvas=replace(self.canvas, size=size, resize=resize))


def describe(canvas: Canvas) -> str:
    """A canvas in words."""
    height, width = canvas.size
    resample = canvas.resample if canvas.resample != AUTO else "bilinear" if canvas.resize == "fit" else "bicubic"
    side = f" with the shorter side at {canvas.shorter_side}" if canvas.resize not in ("fit", "stretch", "crop") else ""
    cut = f", cut to multiples of {canvas.multiple}" if canvas.resize.startswith("shorter") else ""
    return f"{canvas.resize}{side}{cut} onto {height} x {width} pixels, {resample}"


def pixel_statistics(processor: Mapping[str, Any], family: str) -> dict[str, tuple[float, ...]]:
    """Our hyperparameters `pixel_mean` and `pixel_std` from their file; {} without file, or if pixels are not read.

    Raises:
      UserError: they are not three numbers each.
    """
    if not processor or family not in _CLASS_OF:
        return {}
    asked = _asked(processor, _class_of(processor, family)[0])
    if not asked.get("do_normalize", True):
        return {"pixel_mean": (0.0,) * 3, "pixel_std": (1.0,) * 3}
    return {"pixel_mean": _three(asked, "image_mean"), "pixel_std": _three(asked, "image_std")}


def reading_of(processor: Mapping[str, Any], family: str, model: Any, spec: ModelSpec) -> Reading | None:
    """How the images of a model are read; None for one that reads no pixels.

    Args:
      processor: content of `preprocessor_config.json`; empty where there is none.
      family: name of the family.
      model: `config.model`.
      spec: the model's specification, whose canvas is the model's own size.
    """
    image = next((each for each in spec.inputs if isinstance(each, ImageInput)), None)
    if image is None or family not in _CLASS_OF:
        return None
    if not processor:
        return Reading(_canvas(_CLASS_OF[family], _usual(family, image, model)), image.mean, image.std, False)
    name, departures = _class_of(processor, family)
    wanted = _asked(processor, name)
    departures += _not_done(wanted)
    try:
        canvas = _canvas(name, wanted)
    except ValueError as error:
        canvas = Canvas(image.size, "stretch", resample=_resample(wanted))
        departures.append(f"{error}: images are stretched to {image.size[0]} x {image.size[1]} pixels")
    reading = Reading(canvas, image.mean, image.std, True)
    if canvas.resize == "shorter" and image.patch and canvas.multiple % image.patch:
        multiple = math.lcm(image.patch, canvas.multiple)
        size = (longest_side(canvas.shorter_side, multiple),) * 2
        departures.append(f"size_divisor {canvas.multiple}: sides are cut to multiples of {multiple}, whole patches")
        reading = replace(reading, canvas=replace(canvas, size=size, multiple=multiple))
    asked, whole = reading.canvas.size, not image.patch or not any(side % image.patch for side in reading.canvas.size)
    if asked != image.size and not (whole and image.positions in ("none", "interpolated")):
        reading = reading.at(image.size)
        departures.append(
            f"its images have {asked[0]} x {asked[1]} pixels, the model reads {image.size[0]} x {image.size[1]}, "
            "which is taken"
        )
    return replace(reading, departures=tuple(departures))


def reads_pixels(spec: ModelSpec) -> bool:
    """Whether a model reads images as such, not as regions."""
    return any(isinstance(each, ImageInput) for each in spec.inputs)


def processor_of(canvas: Canvas, model: Any, family: str) -> dict[str, Any]:
    """Their `preprocessor_config.json` with which an image is read as ours is.

    Raises:
      UserError: none of their classes reads images so.
    """
    (height, width), side = canvas.size, {"shortest_edge": canvas.shorter_side}
    name, more = "CLIP", {"do_center_crop": True, "crop_size": {"height": height, "width": width}}
    if canvas.resize == "stretch":
        own = _CLASS_OF[family]
        name = own if own in ("ViT", "Blip", "Siglip") else "CLIP"
        more = {"size": {"height": height, "width": width}} | ({"do_center_crop": False} if name == "CLIP" else {})
    elif canvas.resize == "crop" and height == width:
        more["size"] = {"shortest_edge": height}
    elif canvas.resize == "side_crop":
        more["size"] = side
    elif canvas.resize == "shorter":
        name, more = "Vilt", {"size": side, "size_divisor": canvas.multiple, "do_pad": True}
    elif canvas.resize == "shorter_crop" and height == width:
        more = {"size": side, "size_divisor": canvas.multiple, "do_pad": True, "do_center_crop": True}
        name, more = "BridgeTower", more | {"crop_size": {"shortest_edge": height}}
    else:
        raise UserError(f"no image processor of transformers reads images as data.resize={canvas.resize!r} does.")
    how = _BILINEAR if canvas.resize == "fit" else _BICUBIC
    return more | {
        "image_processor_type": f"{name}ImageProcessor",
        "do_resize": True,
        "resample": int(how if canvas.resample == AUTO else RESAMPLINGS[canvas.resample]),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(model.pixel_mean),
        "image_std": list(model.pixel_std),
        "do_convert_rgb": True,
    }


def _class_of(processor: Mapping[str, Any], family: str) -> tuple[str, list[str]]:
    """Beginning of the class's name, and what is not done of it."""
    named = processor.get("image_processor_type") or processor.get("feature_extractor_type") or ""
    name = _TYPE.sub("", named) or _CLASS_OF[family]
    if name in _DEFAULTS:
        return name, []
    usual = _CLASS_OF[family]
    return usual, [f"{named} is not known: the file is read as one of {usual}ImageProcessor"]


def _asked(processor: Mapping[str, Any], name: str) -> dict[str, Any]:
    return _DEFAULTS[name] | {key: value for key, value in processor.items() if value is not None}


def _not_done(asked: Mapping[str, Any]) -> list[str]:
    """Steps that are always taken, in one way."""
    departures = []
    if not asked.get("do_resize", True):
        departures.append("do_resize=false: images are resized")
    if not asked.get("do_rescale", True) or abs(asked.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
        departures.append("do_rescale or rescale_factor: pixels are divided by 255")
    return departures


def _usual(family: str, image: ImageInput, model: Any) -> dict[str, Any]:
    """What the family's class is asked for a model of this size, as the published ones are."""
    asked, (height, width) = dict(_DEFAULTS[_CLASS_OF[family]]), image.size
    if family == "vilt":
        return asked | {"size": {"shortest_edge": model.grid[0] * image.patch}, "size_divisor": image.patch}
    if "size_divisor" in asked:
        asked["size_divisor"] = math.gcd(asked["size_divisor"], height)
    if "crop_size" in asked:
        asked["crop_size"] = {"height": height, "width": width}
    return asked | {"size": {"height": height, "width": width} if "height" in asked["size"] else
                    {"shortest_edge": height}}  # fmt: skip


def _canvas(name: str, asked: Mapping[str, Any]) -> Canvas:
    """What a class asks for; ValueError where there is no such rule."""
    resample, size = _resample(asked), asked["size"]
    side, square = _sides(size, square="shortest_edge" not in _DEFAULTS[name]["size"])
    crop = _sides(asked["crop_size"], square=True)[1] if asked.get("do_center_crop") and "crop_size" in asked else None
    if name in ("Vilt", "BridgeTower"):
        multiple = asked["size_divisor"]
        if not side or (crop and name == "Vilt"):
            raise ValueError(f"size {size} with do_center_crop={bool(crop)}")
        if crop:
            return Canvas(crop, "shorter_crop", side, multiple, resample)
        return Canvas((longest_side(side, multiple),) * 2, "shorter", side, multiple, resample)
    if name == "ConvNext":
        if not side:
            raise ValueError(f"size {size}")
        if crop not in (None, (side, side)):
            raise ValueError(f"crop_size {asked['crop_size']} after crop_pct")
        if side >= _WARPED_FROM:
            return Canvas((side, side), "stretch", resample=resample)
        return Canvas((side, side), "side_crop", int(side / asked["crop_pct"]), resample=resample)
    if square and crop in (None, square):
        return Canvas(square, "stretch", resample=resample)
    if not side or not crop:
        raise ValueError(f"size {size} with do_center_crop={bool(crop)}")
    if crop == (side, side):
        return Canvas(crop, "crop", resample=resample)
    return Canvas(crop, "side_crop", side, resample=resample)


def _sides(size: Any, square: bool) -> tuple[int, Size | None]:
    """(Shortest edge or 0, height and width or None) of one of their sizes; a bare number is a `square` or an edge."""
    if isinstance(size, int):
        return (0, (size, size)) if square else (size, None)
    if isinstance(size, (list, tuple)) and len(size) == 2:
        return 0, tuple(size)
    if isinstance(size, dict):
        if set(size) == {"height", "width"}:
            return 0, (size["height"], size["width"])
        if set(size) == {"shortest_edge"}:
            return size["shortest_edge"], (size["shortest_edge"],) * 2 if square else None
    raise ValueError(f"size {size}")


def _resample(asked: Mapping[str, Any]) -> str:
    try:
        return Image.Resampling(asked["resample"]).name.lower()
    except ValueError as error:
        raise UserError(
            f"{PROCESSOR}: 'resample' is {asked['resample']!r}; it must be a number from 0 to 5."
        ) from error


def _three(asked: Mapping[str, Any], key: str) -> tuple[float, ...]:
    value = asked[key]
    value = (value,) * 3 if isinstance(value, (int, float)) else value
    if len(value) != 3 or not all(isinstance(item, (int, float)) for item in value):
        raise UserError(f"{PROCESSOR}: {key!r} is {value!r}; it must be three numbers, one for each colour.")
    return tuple(float(item) for item in value)
