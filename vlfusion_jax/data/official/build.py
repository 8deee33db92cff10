"""Official data sets as TFDS data sets in ArrayRecord files: built once, then read by index. Needs no TensorFlow.

Beside the files of TFDS lie those of `official.kept`.

Importing this file imports TFDS, which takes seconds.
"""

import io
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.official.contents import Contents, Entry
from vlfusion_jax.data.official.kept import COUNTS_FILE, DROPPED_FILE, VERSION, folder_of, texts_file, to_row
from vlfusion_jax.data.official.table import DATA_SETS
from vlfusion_jax.data.prepare import prepare


def build(name: str, manual_dir: Path, data_dir: Path) -> Path:
    """Build data set `name` of `DATA_SETS` from the files in `manual_dir`; where it is there already, do nothing.

    An image that is missing or unreadable is left out and counted, with its texts.

    Returns:
      The folder of the data set below `data_dir`.

    Raises:
      UserError: a file of annotations is not what it should be, nothing of the data set is in `manual_dir`, no image of
        a split can be read, or `data_dir` cannot be written. Nothing is then left behind.
    """
    folder = folder_of(name, data_dir)
    if folder.exists():
        return folder
    data_set = DATA_SETS[name]
    if not manual_dir.is_dir():
        raise UserError(f"--manual_dir '{manual_dir}' is not a folder: give the one that holds {data_set.files}.")
    contents = data_set.read(manual_dir)
    if not contents.splits:
        raise UserError(f"--manual_dir '{manual_dir}' holds nothing of {name}; expected are {data_set.files}.")
    for split, entries in contents.splits.items():
        if not any((manual_dir / image).is_file() for entry in entries for image in entry.images):
            example = f", such as '{manual_dir / entries[0].images[0]}'" if entries else ""
            raise UserError(f"split '{split}' of {name}: none of its images is there{example}.")
    try:
        prepare(data_dir, name, partial(_Builder, name, contents, manual_dir, data_dir))
    except OSError as error:
        advice = "check that this folder can be written, and the file named read"
        raise UserError(f"cannot build {name} in '{data_dir}': {error}; {advice}.") from error
    return folder


class _Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Any of `DATA_SETS`, its texts already read."""

    VERSION = tfds.core.Version(VERSION)

    def __init__(self, name: str, contents: Contents, manual_dir: Path, data_dir: Path):
        self.name = name
        self._contents = contents
        self._manual_dir = manual_dir
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        data_set = DATA_SETS[self.name]
        text = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self.name}, from the files of its authors.",
            homepage=data_set.homepage,
            features=tfds.features.FeaturesDict(
                # Encoded bytes as they are: arrays would need TensorFlow, and so would sequences in sequences.
                {name: tfds.features.Image(shape=(None, None, 3)) for name in data_set.images}
                | {
                    "image_name": text,
                    "caption": tfds.features.Sequence(text),
                    "question": tfds.features.Sequence({"id": text, "text": text, "kind": text}),
                    "answer": tfds.features.Sequence(
                        {"question": tfds.features.Scalar(np.int32), "text": text, "score": np.float32}
                    ),
                }
            ),
            disable_shuffling=True,  # the texts beside are in the order of the records
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing is downloaded
        return {split: self._generate_examples(split) for split in self._contents.splits}

    def _generate_examples(self, split: str):
        entries, number = self._contents.splits[split], 0
        bar = tqdm(entries, desc=f"building {self.name} {split}", unit=" images", mininterval=0.5)
        with texts_file(Path(self.data_dir), split).open("w", encoding="utf-8") as texts:
            for entry in bar:
                if images := self._images(split, entry):
                    texts.write(to_row(entry) + "\n")
                    yield number, dict(zip(DATA_SETS[self.name].images, images, strict=True)) | _features(entry)
                    number += 1
        if not number:
            raise UserError(f"split '{split}' of {self.name}: none of its images can be read.")

    def _images(self, split: str, entry: Entry) -> list[io.BytesIO] | None:
        """The encoded images of an entry; None, and one more counted, where one is missing or no image."""
        images = []
        for name in entry.images:
            path = self._manual_dir / name
            try:
                images.append(io.BytesIO(path.read_bytes()))
                Image.open(io.BytesIO(images[-1].getvalue())).close()  # its header
            except FileNotFoundError:
                self._contents.dropped.add(split, "image is missing", str(path))
                return None
            except UnidentifiedImageError:
                self._contents.dropped.add(split, "file is no image", str(path))
                return None
        return images

    def _download_and_prepare(self, dl_manager, download_config=None):
        super()._download_and_prepare(dl_manager, download_config)
        folder = Path(self.data_dir)  # still aside
        (folder / DROPPED_FILE).write_text(json.dumps(self._contents.dropped.to_list(), indent=1), encoding="utf-8")
        counts = json.dumps(self._contents.answer_counts, ensure_ascii=False)
        (folder / COUNTS_FILE).write_text(counts, encoding="utf-8")


def _features(entry: Entry) -> dict[str, Any]:
    return {
        "image_name": entry.images[0],
        "caption": list(entry.captions),
        "question": [{"id": each.id, "text": each.text, "kind": each.kind} for each in entry.questions],
        "answer": [
            {"question": number, "text": answer, "score": score}
            for number, each in enumerate(entry.questions)
            for answer, score in each.answers
        ],
    }
