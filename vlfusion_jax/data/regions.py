"""What a detector found in an image, from a file of arrays to rows of fixed room.

A file is NumPy's `.npz`, and holds

* `features` [r, f] float, a vector of each region;
* `boxes` [r, 4], left, top, right and bottom: in pixels where there is `size` [2], height and width of the image, else
  in [0, 1];
* `labels` [r] int, where hidden regions are told by their class (UNITER's MRC, Chen et al. 2020, section 3.2): -1 = it
  is not known;
* `classes` [r, C] float, where they are told by the detector's own distribution over classes (MRC-KL).
"""

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from ml_collections import ConfigDict

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError

FEATURES, BOXES, SIZE, LABELS, CLASSES = "features", "boxes", "size", "labels", "classes"
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".npz")
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError)
_BEYOND = 1e-3  # of the image's side: by how much a box may be out of it, as boxes in 16 bits are
_OFF = 1e-2  # by how much a distribution in 16 bits may miss a sum of one


@dataclass(frozen=True)
class RegionLayout:
    """The room for regions of an image, and what is there of each.

    Attributes:
      count: most regions; of more the first are kept, which detectors are surest of.
      features: numbers of a region's vector, `model.region_features`.
      target: `class` where a label of each is read, `kl` where a distribution is; '' = neither.
      classes: of these.
    """

    count: int
    features: int
    target: str
    classes: int


def region_layout(config: ConfigDict) -> RegionLayout | None:
    """The layout of a run whose model reads the regions of a detector; None = it does not."""
    if not config.data.regions:
        return None
    mrm = config.tasks.mrm
    target = mrm.target if mrm.weight and mrm.target in ("class", "kl") else ""
    return RegionLayout(config.data.regions, config.model.region_features, target, mrm.classes)


def region_file(image: str) -> str:
    """Name of the file with the regions of an image, which has the suffix of a picture, that of the file, or none."""
    path = PurePosixPath(image)
    return str(path.with_suffix(".npz") if path.suffix.lower() in _SUFFIXES else path.with_name(f"{path.name}.npz"))


def region_shapes(layout: RegionLayout, images: int) -> dict[str, tuple[tuple[int, ...], type]]:
    """Shape and dtype of what `region_rows` gives of so many images, by batch key."""
    shapes = {
        names.REGIONS: ((images, layout.count, layout.features), np.float32),
        names.BOXES: ((images, layout.count, 4), np.float32),
        names.REGION_MASK: ((images, layout.count), np.int32),
    }
    if layout.target == "class":
        shapes[names.REGION_LABELS] = ((images, layout.count), np.int32)
    if layout.target == "kl":
        shapes[names.REGION_CLASSES] = ((images, layout.count, layout.classes), np.float32)
    return shapes


def region_rows(data: bytes, name: str, layout: RegionLayout) -> dict[str, np.ndarray]:
    """The regions of one image as `region_shapes` says: boxes in [0, 1], and behind the last region nothing.

    Mask and vectors, boxes and distributions of nothing are 0, labels -1.

    Raises:
      UserError: naming the file, `name`, and the array that is missing or wrong.
    """
    arrays = _read(data, name, layout)
    features = _floats(arrays[FEATURES], FEATURES, name)
    if features.ndim != 2 or features.shape[1] != layout.features:
        expected = f"[regions, {layout.features}], the last being model.region_features"
        raise _wrong(name, FEATURES, f"is {list(features.shape)}, expected {expected}")
    if not len(features):
        raise _wrong(name, FEATURES, "is empty: leave the image out")
    found = {
        names.REGIONS: features,
        names.BOXES: _boxes(arrays, len(features), name),
        names.REGION_MASK: np.ones(len(features), np.int32),
    }
    if layout.target == "class":
        found[names.REGION_LABELS] = _labels(arrays[LABELS], len(features), layout.classes, name)
    if layout.target == "kl":
        found[names.REGION_CLASSES] = _distributions(arrays[CLASSES], len(features), layout.classes, name)
    shapes = region_shapes(layout, 1)
    rows = {key: np.full(shape, -1 if key == names.REGION_LABELS else 0, of) for key, (shape, of) in shapes.items()}
    for key, array in found.items():
        kept = array[: layout.count]
        rows[key][0, : len(kept)] = kept
    return rows


def _read(data: bytes, name: str, layout: RegionLayout) -> dict[str, np.ndarray]:
    needed = [FEATURES, BOXES, *({"class": [LABELS], "kl": [CLASSES]}.get(layout.target, []))]
    try:
        file = np.load(io.BytesIO(data), allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise UserError(f"regions '{name}' are a single array: store several by name, with numpy.savez.")
        with file:
            missing = [key for key in needed if key not in file]
            if missing:
                of_task = missing[0] in (LABELS, CLASSES)
                way = f"store it, or set tasks.mrm.target, which is {layout.target!r}" if of_task else "store it"
                raise _wrong(name, missing[0], f"is missing, there is {', '.join(file.files) or 'none'}: {way}")
            return {key: file[key] for key in (*needed, SIZE) if key in file}
    except _UNREADABLE as error:
        raise UserError(f"regions '{name}' cannot be read, they are damaged or no .npz file: {error}") from error


def _boxes(arrays: Mapping[str, np.ndarray], count: int, name: str) -> np.ndarray:
    boxes, unit = _checked(arrays[BOXES], BOXES, name).astype(np.float64), "the image, [0, 1]"
    if boxes.shape != (count, 4):
        raise _wrong(name, BOXES, f"is {list(boxes.shape)}, expected [{count}, 4], a box of each of 'features'")
    if SIZE in arrays:
        size = _checked(arrays[SIZE], SIZE, name)
        if size.shape != (2,) or size.min() <= 0:
            raise _wrong(name, SIZE, f"is {size.tolist()}, expected height and width of the image, in pixels")
        height, width = size
        boxes, unit = boxes / [width, height, width, height], f"the image, height {height:g} and width {width:g}"
    elif boxes.max() > 1 + _BEYOND:
        raise _wrong(name, BOXES, f"reach {boxes.max():g} without '{SIZE}': store the image's (height, width) too")
    inside = (boxes >= -_BEYOND).all(1) & (boxes <= 1 + _BEYOND).all(1)
    ordered = (boxes[:, :2] <= boxes[:, 2:]).all(1)
    for right, what in ((ordered, "is not left, top, right, bottom"), (inside, f"is out of {unit}")):
        if not right.all():
            first = int(np.argmin(right))
            raise _wrong(name, BOXES, f"has box {first}, {arrays[BOXES][first].tolist()}, which {what}")
    return np.clip(boxes, 0, 1).astype(np.float32)


def _labels(labels: np.ndarray, count: int, classes: int, name: str) -> np.ndarray:
    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise _wrong(name, LABELS, f"is {list(labels.shape)} {labels.dtype}, expected [{count}] of whole numbers")
    if labels.min() < -1 or labels.max() >= classes:
        raise _wrong(
            name, LABELS, f"has {labels.min()} to {labels.max()}, expected -1 (not known) to {classes - 1}: "
            "tasks.mrm.classes is the number of classes",
        )  # fmt: skip
    return labels.astype(np.int32)


def _distributions(shares: np.ndarray, count: int, classes: int, name: str) -> np.ndarray:
    shares = _floats(shares, CLASSES, name)
    if shares.shape != (count, classes):
        raise _wrong(name, CLASSES, f"is {list(shares.shape)}, expected [{count}, {classes}], by tasks.mrm.classes")
    if shares.min() < 0 or np.abs(shares.sum(1) - 1).max() > _OFF:
        raise _wrong(name, CLASSES, "has a row that is no distribution: numbers of at least 0 that sum to one")
    return shares


def _floats(array: np.ndarray, key: str, name: str) -> np.ndarray:
    if array.dtype.kind != "f":
        raise _wrong(name, key, f"is of {array.dtype}, expected floats")
    with np.errstate(over="ignore"):  # which is then found
        return _checked(array.astype(np.float32), key, name)


def _checked(array: np.ndarray, key: str, name: str) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise _wrong(name, key, f"is of {array.dtype}, expected numbers")
    if not np.isfinite(array).all():
        raise _wrong(name, key, "has a NaN or an infinite number")
    return array


def _wrong(name: str, key: str, what: str) -> UserError:
    return UserError(f"regions '{name}': array '{key}' {what}.")
