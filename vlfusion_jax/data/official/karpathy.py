"""COCO and Flickr30k captions, split as by Karpathy and Fei-Fei (2015): `dataset_coco.json`, `dataset_flickr30k.json`.

COCO's `restval`, the images of val2014 that are in neither val nor test, belongs to train, as the field has it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.json_entries import entries, put, read_json, text
from vlfusion_jax.data.official.contents import Contents, Entry
from vlfusion_jax.data.official.files import image_folder, plain_name, rows_of, spoken

FLICKR_IMAGES = ("flickr30k-images", "flickr30k_images")  # as the archive names its folder, as many rename it
_COCO_IMAGES = ("train2014", "val2014")
_SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}


def read_coco(folder: Path) -> Contents:
    """Splits train, val and test of COCO; an image is named as `val2014/COCO_val2014_000000391895.jpg`.

    Raises:
      UserError: the file is not what it should be, an image is there twice, or its split is unknown.
    """

    def parent(row: dict[str, Any], place: str) -> str:
        name = text(row, "filepath", place)
        if name not in _COCO_IMAGES:
            raise UserError(f"{place}: 'filepath' is {name!r}, expected {' or '.join(_COCO_IMAGES)}.")
        return image_folder(folder, [name])

    return _read(folder / "dataset_coco.json", parent)


def read_flickr30k(folder: Path) -> Contents:
    """Splits train, val and test of Flickr30k (Young et al. 2014).

    Raises:
      UserError: as `read_coco`.
    """
    return _read(folder / "dataset_flickr30k.json", lambda row, place: image_folder(folder, FLICKR_IMAGES))


def _read(file: Path, parent: Callable[[dict[str, Any], str], str]) -> Contents:
    contents, seen = Contents(), {}
    if not file.is_file():
        return contents
    for place, row in rows_of(file, entries(file, read_json(file), "images")):
        image = f"{parent(row, place)}/{plain_name(text(row, 'filename', place), place)}"
        put(seen, image, place, place)
        given = text(row, "split", place)
        if given not in _SPLITS:
            raise UserError(f"{place}: split {given!r} is unknown, expected one of {', '.join(_SPLITS)}.")
        split, captions = _SPLITS[given], []
        for where, sentence in entries(place, row, "sentences"):
            if caption := spoken(sentence, "raw", where):
                captions.append(caption)
            else:
                contents.dropped.add(split, "caption without words", where)
        if captions:
            contents.splits.setdefault(split, []).append(Entry((image,), tuple(captions)))
        else:
            contents.dropped.add(split, "image without a caption", place)
    return contents
