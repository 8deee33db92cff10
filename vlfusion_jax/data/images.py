"""Encoded bytes to pixels on a canvas of fixed size, with light augmentation. NumPy and PIL, on the host."""

import io
import re
from collections.abc import Iterable

import numpy as np
from PIL import ExifTags, Image

from vlfusion_jax.core.errors import UserError

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


def _upright(image: Image.Image) -> Image.Image:
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # Pillow raises anything over damaged EXIF; the pixels are fine
        turn = None
    return image if turn is None else image.transpose(turn)


def scale(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale `image` [h, w, 3] uint8 to fill `size` (height, width) in at least one direction, keeping its aspect ratio.

    Returns [at most height, at most width, 3] uint8; nothing is resampled that fits.
    """
    height, width = image.shape[:2]
    factor = min(size[0] / height, size[1] / width)
    target = max(1, round(height * factor)), max(1, round(width * factor))
    if target == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize(target[::-1], Image.Resampling.BILINEAR))


def fit(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """`scale` `image` [h, w, 3] uint8, lay it at the top left of a canvas of `size` (height, width), pad with zeros.

    Returns pixels [height, width, 3] uint8 and mask [height, width] uint8, 1 = image, 0 = padding.
    """
    image = scale(image, size)
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
