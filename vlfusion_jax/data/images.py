"""Encoded bytes to pixels on a canvas of fixed size, with light augmentation. NumPy and PIL, on the host."""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from vlfusion_jax.core.arithmetic import longest_side
from vlfusion_jax.core.errors import UserError

AUTO = "auto"
RESAMPLINGS = {each.name.lower(): each for each in Image.Resampling}

_SIDES = re.compile(r"(?<![a-z])(left|right|(counter|anti)?clockwise)", re.IGNORECASE)
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
# By EXIF orientation. Pillow's exif_transpose also writes the tags anew, and fails where any of them is damaged.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decode to [height, width, 3] uint8 RGB, upright, transparency laid on white; of 16-bit grey the high byte.

    Raises UserError naming the file, `name`, where the bytes are not a whole image or its pixels are 32-bit numbers.
    """
    try:
        with Image.open(io.BytesIO(data)) as file:
            file.load()
            image = _upright(file)
            if image.mode in ("I", "F"):
                raise UserError(
                    f"image '{name}' has 32-bit pixels, which do not say how bright white is: convert it to 8 bits."
                )
            if image.mode.startswith("I;16"):
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return np.asarray(image.convert("RGB"))
    except _DECODE_ERRORS as error:
        raise UserError(f"image '{name}' cannot be decoded, it is damaged or not an image: {error}") from error


def read_image(image: str | Path | np.ndarray) -> np.ndarray:
    """The image of a file, decoded, or the array as it is: [height, width, 3] uint8 RGB.

    Raises:
      UserError: the file cannot be read or is no image, or the array has another shape or type.
    """
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8:
            raise UserError(f"image: expected [height, width, 3] uint8, got {list(image.shape)} {image.dtype}.")
        return image
    try:
        data = Path(image).read_bytes()
    except OSError as error:
        raise UserError(f"image file {image} cannot be read ({error.strerror}); give the path of an image.") from error
    return decode_image(data, str(image))


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # Pillow raises anything over damaged EXIF; the pixels are fine
        turn = None
    return image if turn is None else image.transpose(turn)


@dataclass(frozen=True)
class Canvas:
    """The array that an image is brought onto.

    Attributes:
      size: (height, width) in pixels.
      resize: `fit`: scaled, keeping its aspect ratio, to fill the canvas in one direction; `shorter`: the shorter side
        becomes `shorter_side`, the longer at most 1333/800 of it, both are cut to `multiple` (ViLT, Kim et al. 2021,
        section 3.2; sizes as in its code); `stretch`: to the canvas whatever its aspect ratio; `crop`: to fill the
        canvas in both directions, its middle kept; `side_crop`: the shorter side becomes `shorter_side`, then the
        middle is kept, with black where the image ends before the canvas (ResNet); `shorter_crop`: as `shorter`, then
        the middle (BridgeTower).
      shorter_side: in pixels, of `shorter`, `side_crop` and `shorter_crop`.
      multiple: in pixels, of `shorter` and `shorter_crop`.
      resample: one of `RESAMPLINGS`, or `auto`: bilinear for `fit`, which is for small models of our own, and bicubic
        for the others, as most published models had it.
    """

    size: tuple[int, int]
    resize: str = "fit"
    shorter_side: int = 0
    multiple: int = 1
    resample: str = AUTO


def scale(image: np.ndarray, canvas: Canvas) -> np.ndarray:
    """`image` [h, w, 3] uint8 as it lies on the canvas: [at most height, at most width, 3] uint8.

    Nothing is resampled that has the right size.
    """
    height, width = image.shape[:2]
    target = _target(height, width, canvas)
    usual = "bilinear" if canvas.resize == "fit" else "bicubic"
    how = RESAMPLINGS[usual if canvas.resample == AUTO else canvas.resample]
    if target != (height, width):
        image = np.asarray(Image.fromarray(image).resize(target[::-1], how))
    return _middle(image, canvas.size) if canvas.resize.endswith("crop") else image


def _middle(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of `image` [h, w, 3] as [*size, 3], black where it is too small."""
    top, left = ((there - here) // 2 for there, here in zip(image.shape, size, strict=False))
    image = image[max(0, top) :, max(0, left) :][: size[0], : size[1]]
    if image.shape[:2] == size:
        return image
    whole, top, left = np.zeros((*size, 3), np.uint8), max(0, -top), max(0, -left)
    whole[top : top + image.shape[0], left : left + image.shape[1]] = image
    return whole


def _target(height: int, width: int, canvas: Canvas) -> tuple[int, int]:
    if canvas.resize == "stretch":
        return canvas.size
    if canvas.resize in ("shorter", "shorter_crop"):
        factor = canvas.shorter_side / min(height, width)
        sides = height * factor, width * factor
        longest = longest_side(canvas.shorter_side)
        if max(sides) > longest:
            sides = tuple(side * longest / max(sides) for side in sides)
        height, width = (max(canvas.multiple, int(side + 0.5) // canvas.multiple * canvas.multiple) for side in sides)
        return height, width
    if canvas.resize in ("crop", "side_crop"):  # the longer is rounded down, as the published models' code does
        rows, columns = canvas.size if canvas.resize == "crop" else (canvas.shorter_side,) * 2
        by_rows = rows * width >= columns * height
        return (rows, rows * width // height) if by_rows else (columns * height // width, columns)
    factor = min(canvas.size[0] / height, canvas.size[1] / width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def scale_and_origin(height: int, width: int, canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Where an image of `height` x `width` pixels lies on its canvas, by rows and by columns, both [2] float64.

    Point p of the canvas shows point (p + origin) * scale of the image.
    """
    target = np.array(_target(height, width, canvas))
    origin = (target - canvas.size) // 2 if canvas.resize.endswith("crop") else np.zeros(2)
    return np.array([height, width]) / target, origin.astype(np.float64)


def place(image: np.ndarray, canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """`scale` `image` [h, w, 3] uint8, lay it at the top left of the canvas, pad with zeros.

    Returns pixels [height, width, 3] uint8 and mask [height, width] uint8, 1 = image, 0 = padding.
    """
    return pad(scale(image, canvas), canvas.size)


def pad(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """`image` [h, w, 3] uint8 at the top left of [height, width, 3] zeros, and the mask [height, width] uint8."""
    pixels = np.zeros((*size, 3), np.uint8)
    mask = np.zeros(size, np.uint8)
    pixels[: image.shape[0], : image.shape[1]] = image
    mask[: image.shape[0], : image.shape[1]] = 1
    return pixels, mask


def augment(image: np.ndarray, rng: np.random.Generator, *, flip: bool, shift: int) -> np.ndarray:
    """Mirror `image` [h, w, 3] left-right half of the time if `flip`, and move it by up to `shift` pixels either way.

    What moves in at an edge repeats the edge pixels; the shape stays.
    """
    if flip and rng.random() < 0.5:
        image = image[:, ::-1]
    if shift:
        y, x = rng.integers(0, 2 * shift + 1, size=2)
        padded = np.pad(image, ((shift, shift), (shift, shift), (0, 0)), mode="edge")
        image = padded[y : y + image.shape[0], x : x + image.shape[1]]
    return image


def names_sides(texts: Iterable[str]) -> bool:
    """Whether a text speaks of left or right, so that mirroring its image would make it wrong."""
    return any(_SIDES.search(text) for text in texts)
