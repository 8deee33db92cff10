"""What a user gives a model, as the arrays that its inputs read."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from vlfusion_jax.core import names
from vlfusion_jax.core.arithmetic import round_up
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data import images
from vlfusion_jax.data.layout import canvas_of
from vlfusion_jax.data.vocabulary import Vocabulary
from vlfusion_jax.models.spec.inputs import ImageInput, RegionInput, TextInput
from vlfusion_jax.models.spec.model import ModelSpec

Picture = str | Path | np.ndarray  # an image file, or [height, width, 3] uint8 RGB

COORDINATES = 4  # of a box
_TEXT_MULTIPLE = 8  # few lengths, so that a model is compiled for few


def text_input(spec: ModelSpec, stream: str = "") -> TextInput | None:
    """What a model reads texts by, or the text of one `stream`; None = it reads none."""
    return next((each for each in spec.inputs if isinstance(each, TextInput) and stream in ("", each.stream)), None)


def image_input(spec: ModelSpec) -> ImageInput | RegionInput | None:
    """What a model reads pictures or regions by; None = it reads neither."""
    return next((each for each in spec.inputs if isinstance(each, ImageInput | RegionInput)), None)


def reads_regions(spec: ModelSpec) -> bool:
    """Whether a model reads the regions of a detector, and so no pictures."""
    found = image_input(spec)
    return isinstance(found, RegionInput) and not found.patch


def encode_texts(
    texts: Sequence[str], spec: ModelSpec, vocabulary: Vocabulary, length: int, fill: bool = False
) -> tuple[dict[str, np.ndarray], int]:
    """Texts as the model reads them, and how many. Warns where one is cut.

    Args:
      texts: in order.
      spec: of the model.
      vocabulary: its tokenizer.
      length: in tokens, padding included; 0 = the shortest multiple of 8 that holds all texts, at most as many tokens
        as the model has room for.
      fill: see `Vocabulary.encode`.

    Raises:
      UserError: the model reads none, or needs some, or has no room for `length` tokens.
    """
    found = text_input(spec)
    if found is None:
        if texts:
            raise UserError("this model reads no texts: leave `texts` out.")
        return {}, 0
    if not texts:
        if found.stream == names.TARGET:  # which may be left out, to be generated
            return {}, 0
        raise UserError("this model reads texts: give `texts`.")
    tokens, room = [vocabulary.length_of(text) for text in texts], found.room
    if length > room:
        raise UserError(f"texts of {length} tokens are too long: this model has room for {room}.")
    length = length or min(room, round_up(max(tokens), _TEXT_MULTIPLE))
    for text, own in zip(texts, tokens, strict=True):
        if own > length:
            warnings.warn(f"a text of {own} tokens is cut to {length}: {text!r}", stacklevel=3)
    return text_arrays(texts, found.stream, vocabulary, length, fill), len(texts)


def text_arrays(
    texts: Sequence[str], stream: str, vocabulary: Vocabulary, length: int, fill: bool
) -> dict[str, np.ndarray]:
    """Tokens and mask of texts, both [texts, length] int32, by their names in `stream`; see `Vocabulary.encode`."""
    ids, masks = zip(*(vocabulary.encode(text, length, fill) for text in texts), strict=True)
    return {stream: np.stack(ids), names.mask_of(stream): np.stack(masks)}


def encode_pictures(
    pictures: Sequence[Picture], spec: ModelSpec, data: ConfigDict
) -> tuple[dict[str, np.ndarray], int]:
    """Pictures, files or [height, width, 3] uint8 RGB, as a model reads them, and how many; `data` is `config.data`.

    Raises:
      UserError: the model reads none, or needs some, or one cannot be read.
    """
    found = image_input(spec)
    if not pictures:
        if found is not None:
            raise UserError("this model reads pictures: give `pictures`.")
        return {}, 0
    if found is None:
        raise UserError("this model reads no pictures: leave `pictures` out.")
    if reads_regions(spec):
        raise UserError(
            f"this model reads the regions of a detector: give `regions` and `boxes` to `encode` of "
            f"vlfusion_jax.load(…), of each picture vectors of {found.features} numbers and boxes, in place of "
            "pictures."
        )
    return picture_arrays(pictures, data), len(pictures)


def picture_arrays(pictures: Sequence[Picture], data: ConfigDict) -> dict[str, np.ndarray]:
    """Pixels [pictures, height, width, 3] and masks [pictures, height, width], both uint8, on the canvas of `data`.

    Raises:
      UserError: a file cannot be read or is no image, or an array has another shape or type.
    """
    placed = [images.place(images.read_image(picture), canvas_of(data)) for picture in pictures]
    pixels, masks = zip(*placed, strict=True)
    return {names.IMAGE: np.stack(pixels), names.IMAGE_MASK: np.stack(masks)}


def encode_regions(
    regions: np.ndarray | None, boxes: np.ndarray | None, spec: ModelSpec
) -> tuple[dict[str, np.ndarray], int]:
    """Regions and boxes, all of them valid, as a model reads them, and of how many images.

    Raises:
      UserError: the model reads no regions, or one of the two is missing or has another shape.
    """
    found = image_input(spec)
    if not reads_regions(spec):
        raise UserError("this model reads no regions of a detector: leave `regions` and `boxes` out.")
    if regions is None or boxes is None:
        raise UserError("this model reads regions with their boxes: give both `regions` and `boxes`.")
    regions, boxes = np.asarray(regions, np.float32), np.asarray(boxes, np.float32)
    expected = {"regions": (regions, found.features), "boxes": (boxes, COORDINATES)}
    for name, (array, width) in expected.items():
        if array.ndim != 3 or array.shape[-1] != width or array.shape[:2] != regions.shape[:2] or not array.size:
            raise UserError(f"`{name}`: expected [images, regions, {width}], got {list(array.shape)}.")
    mask = np.ones(regions.shape[:2], np.int32)
    return {names.REGIONS: regions, names.BOXES: boxes, names.REGION_MASK: mask}, len(regions)
