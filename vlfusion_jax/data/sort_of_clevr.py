"""Sort-of-CLEVR scenes: drawn, described and asked about from a seed.

Santoro et al. 2017, "A simple neural network module for relational reasoning", supplementary material: 75x75 images
with six objects, one of each colour, each a square or a circle, and per image ten relational and ten non-relational
questions with colour and subtype drawn at random. Sizes, colours and placement are those of the public generator.
Two choices are ours: objects never touch (bounding boxes are disjoint), and no object has two equally near or equally
far neighbours, so that every answer is unique. Questions are English sentences, and each scene has a caption.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vlfusion_jax.core import names
from vlfusion_jax.core.rng import numpy_rng
from vlfusion_jax.data.records import Question

IMAGE_SIZE = 75
RADIUS = 5
BACKGROUND = 255
COLORS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "orange": (255, 156, 0),
    "grey": (128, 128, 128),
    "yellow": (255, 255, 0),
}
SHAPES = ("square", "circle")
RELATIONAL = "relational"
NON_RELATIONAL = "non_relational"
QUESTIONS_PER_KIND = 10

_ROWS = ("top", "middle", "bottom")
_COLUMNS = ("left", "center", "right")


@dataclass(frozen=True)
class Scene:
    """Object i has colour number i; `centers` [6, 2] int (x, y) in pixels, y downwards; `shapes` [6] index SHAPES."""

    centers: np.ndarray
    shapes: np.ndarray

    def squared_distances(self) -> np.ndarray:
        """[6, 6] int squared distances between centres, in pixels."""
        return ((self.centers[:, None] - self.centers[None, :]) ** 2).sum(-1)


def draw_scene(rng: np.random.Generator) -> Scene:
    """Random shapes at random places, bounding boxes disjoint, nearest and furthest neighbours unique."""
    while True:
        centers: list[np.ndarray] = []
        while len(centers) < len(COLORS):
            center = rng.integers(RADIUS, IMAGE_SIZE - RADIUS, size=2)
            if all(np.abs(center - other).max() > 2 * RADIUS for other in centers):
                centers.append(center)
        scene = Scene(np.stack(centers), rng.integers(len(SHAPES), size=len(COLORS)))
        ordered = np.sort(scene.squared_distances(), axis=1)  # column 0 is the object itself
        if (ordered[:, 1] < ordered[:, 2]).all() and (ordered[:, -2] < ordered[:, -1]).all():
            return scene


def render(scene: Scene) -> np.ndarray:
    """The scene as [75, 75, 3] uint8 RGB: squares of 11 pixels, circles of radius 5 pixels, on white."""
    image = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), BACKGROUND, np.uint8)
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
    for color, (center_x, center_y), shape in zip(COLORS.values(), scene.centers, scene.shapes, strict=True):
        if SHAPES[shape] == "square":
            inside = (np.abs(x - center_x) <= RADIUS) & (np.abs(y - center_y) <= RADIUS)
        else:
            inside = (x - center_x) ** 2 + (y - center_y) ** 2 <= RADIUS**2
        image[inside] = color
    return image


def encode_png(image: np.ndarray) -> bytes:
    """[H, W, 3] uint8 as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def describe(scene: Scene) -> str:
    """Caption naming shape and ninth of the image of every object, in the order of `COLORS`.

    Such as "red circle top left, green square middle center, …": always 29 words and commas.
    """
    return ", ".join(
        f"{color} {SHAPES[shape]} {_place(center)}"
        for color, shape, center in zip(COLORS, scene.shapes, scene.centers, strict=True)
    )


def _place(center: np.ndarray) -> str:
    column, row = (3 * center) // IMAGE_SIZE
    return f"{_ROWS[row]} {_COLUMNS[column]}"


def ask(scene: Scene, rng: np.random.Generator) -> tuple[Question, ...]:
    """Ten non-relational, then ten relational questions; colour and subtype are drawn for each, with replacement."""
    return tuple(
        Question(text, ((answer, 1.0),), kind)
        for kind, template in ((NON_RELATIONAL, _ask_non_relational), (RELATIONAL, _ask_relational))
        for _ in range(QUESTIONS_PER_KIND)
        for text, answer in [template(scene, int(rng.integers(len(COLORS))), int(rng.integers(3)))]
    )


def _ask_non_relational(scene: Scene, item: int, subtype: int) -> tuple[str, str]:
    color = tuple(COLORS)[item]
    x, y = scene.centers[item]
    if subtype == 0:
        return f"what shape is the {color} object?", SHAPES[scene.shapes[item]]
    if subtype == 1:
        return f"is the {color} object on the left of the image?", _yes_no(x < IMAGE_SIZE / 2)
    return f"is the {color} object at the top of the image?", _yes_no(y < IMAGE_SIZE / 2)


def _ask_relational(scene: Scene, item: int, subtype: int) -> tuple[str, str]:
    color = tuple(COLORS)[item]
    by_distance = np.argsort(scene.squared_distances()[item])  # the object itself comes first
    if subtype == 0:
        return f"what shape is the object closest to the {color} object?", SHAPES[scene.shapes[by_distance[1]]]
    if subtype == 1:
        return f"what shape is the object furthest from the {color} object?", SHAPES[scene.shapes[by_distance[-1]]]
    same = int((scene.shapes == scene.shapes[item]).sum())  # the object itself counts, as published
    return f"how many objects have the shape of the {color} object?", str(same)


def _yes_no(condition: bool) -> str:
    return "yes" if condition else "no"


def make_example(seed: int, split: int, index: int) -> tuple[bytes, str, tuple[Question, ...]]:
    """Scene `index` of split number `split`: (PNG bytes, caption, questions), a pure function of the arguments."""
    rng = numpy_rng(seed, names.SCENES, split, index)
    scene = draw_scene(rng)
    return encode_png(render(scene)), describe(scene), ask(scene, rng)
