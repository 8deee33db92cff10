"""RandAugment (Cubuk et al. 2020): a few random changes of an image, all of one strength. PIL, on the host.

Two recipes of vision-language training, without RandAugment's inversion of all colours and without cutting pieces out,
since texts name colours and small things: `vilt`, two changes out of fourteen at strength 9 of 30 (Kim et al. 2021,
section 4.2), of which solarising still inverts what is bright; and `albef`, which leaves colours alone: two out of ten
at strength 7 of 10, each left out half of the time (Li et al. 2021, section 4; values as in its code). Shifts are in
proportion to the image, where the published ones are in pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Change = Callable[[Image.Image, float], Image.Image]
_THRESHOLD = 128  # of what solarising behind an addition inverts
_USUAL_SIDE = 384  # pixels of the shorter side that published shifts are for; others are shifted in proportion


def _moved(image: Image.Image, matrix: tuple[float, ...], fill: tuple[int, int, int]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=fill)


def _brightened_and_solarised(image: Image.Image, addition: float) -> Image.Image:
    brighter = np.clip(np.asarray(image).astype(np.int32) + int(addition), 0, 255).astype(np.uint8)
    return ImageOps.solarize(Image.fromarray(brighter), _THRESHOLD)


_COLOURS: dict[str, Change] = {
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "posterize": lambda image, value: ImageOps.posterize(image, max(1, int(value))),
    "solarize": lambda image, value: ImageOps.solarize(image, int(value)),
    "solarize_add": _brightened_and_solarised,
    "color": lambda image, value: ImageEnhance.Color(image).enhance(value),
    "contrast": lambda image, value: ImageEnhance.Contrast(image).enhance(value),
    "brightness": lambda image, value: ImageEnhance.Brightness(image).enhance(value),
    "sharpness": lambda image, value: ImageEnhance.Sharpness(image).enhance(value),
}
_PLACES: dict[str, Callable[[Image.Image, float, tuple[int, int, int]], Image.Image]] = {
    "rotate": lambda image, value, fill: image.rotate(value, fillcolor=fill),
    "shear_x": lambda image, value, fill: _moved(image, (1, value, 0, 0, 1, 0), fill),
    "shear_y": lambda image, value, fill: _moved(image, (1, 0, 0, value, 1, 0), fill),
    "translate_x": lambda image, value, fill: _moved(image, (1, 0, value * _scale(image), 0, 1, 0), fill),
    "translate_y": lambda image, value, fill: _moved(image, (1, 0, 0, 0, 1, value * _scale(image)), fill),
}


def _scale(image: Image.Image) -> float:
    return min(image.size) / _USUAL_SIDE


@dataclass(frozen=True)
class Recipe:
    """How images are changed.

    Attributes:
      values: {change: its value, given its strength is the recipe's}; those of places go either way.
      count: changes of an image, drawn with replacement.
      share: of the changes drawn, how many happen.
      fill: colour of what moves in at the edges.
    """

    values: dict[str, float]
    count: int
    share: float
    fill: tuple[int, int, int]


def _between(strength: float, low: float, high: float) -> float:
    return low + strength * (high - low)


_VILT, _ALBEF = 9 / 30, 7 / 10
_VILT_MOST = {
    "autocontrast": (0, 1), "equalize": (0, 1), "rotate": (0, 30), "posterize": (0, 4), "solarize": (0, 256),
    "solarize_add": (0, 110), "color": (0.1, 1.9), "contrast": (0.1, 1.9), "brightness": (0.1, 1.9),
    "sharpness": (0.1, 1.9), "shear_x": (0, 0.3), "shear_y": (0, 0.3), "translate_x": (0, 100), "translate_y": (0, 100),
}  # fmt: skip
_ALBEF_MOST = {
    "identity": (0, 0), "autocontrast": (0, 1), "equalize": (0, 1), "brightness": (0.1, 1.9), "sharpness": (0.1, 1.9),
    "shear_x": (0, 0.3), "shear_y": (0, 0.3), "translate_x": (0, 10), "translate_y": (0, 10), "rotate": (0, 30),
}  # fmt: skip
RECIPES = {
    "vilt": Recipe({name: _between(_VILT, *most) for name, most in _VILT_MOST.items()}, 2, 1.0, (0, 0, 0)),
    "albef": Recipe({name: _between(_ALBEF, *most) for name, most in _ALBEF_MOST.items()}, 2, 0.5, (128, 128, 128)),
}


def rand_augment(pixels: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """`pixels` [h, w, 3] uint8, changed by a recipe; the shape stays."""
    image = Image.fromarray(pixels)
    for name in rng.choice([*recipe.values], recipe.count):
        if rng.random() < recipe.share:
            image = changed(image, str(name), recipe.values[name] * rng.choice([-1, 1]), recipe.fill)
    return np.asarray(image)


def changed(image: Image.Image, name: str, value: float, fill: tuple[int, int, int]) -> Image.Image:
    """One change of a recipe; only that of a place heeds the value's sign."""
    if name in _PLACES:
        return _PLACES[name](image, value, fill)
    return _COLOURS[name](image, abs(value)) if name in _COLOURS else image
