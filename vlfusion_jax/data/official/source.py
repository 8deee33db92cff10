"""Opening an official data set that was built."""

from pathlib import Path

import tensorflow_datasets as tfds

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.official.contents import Entry
from vlfusion_jax.data.official.kept import folder_of, read_answer_counts, read_entries, splits_of
from vlfusion_jax.data.official.table import DATA_SETS
from vlfusion_jax.data.prepared import PreparedSource, check_splits

_TRAINVAL = "trainval"  # what VQA's literature calls train+val


def open_official(name: str, data_dir: Path, split: str) -> PreparedSource:
    """Open `split` of data set `name`, built below `data_dir`; 'trainval' and 'train+val' are both splits together.

    Raises:
      UserError: it is not built, it has no such split, or its files do not fit.
    """
    data_set = DATA_SETS[name]
    folder = folder_of(name, data_dir)
    if not folder.is_dir():
        raise UserError(
            f"data.source '{name}' is not built in '{data_dir}': run vlfusion data {name} --manual_dir=DIR"
            f" --data_dir={data_dir}, or set data.path to where it is."
        )
    parts = ["train", "val"] if split == _TRAINVAL else split.split("+")
    check_splits(parts, splits_of(folder), str(folder))
    entries = [entry for part in parts for entry in read_entries(folder, part)]
    rows = tfds.builder_from_directory(folder).as_data_source(
        "+".join(parts), decoders={image: tfds.decode.SkipDecoding() for image in data_set.images}
    )
    _check_fit(rows, entries, folder)
    texts = [(entry.captions, entry.questions) for entry in entries]
    return PreparedSource(
        rows, [entry.images for entry in entries], texts, read_answer_counts(folder), data_set.images, data_set.labelled
    )


def _check_fit(rows, entries: list[Entry], folder: Path) -> None:
    fits = len(rows) == len(entries) and all(
        rows[index]["image_name"].decode() == entries[index].images[0] for index in (0, len(rows) - 1)
    )
    if not fits:
        raise UserError(f"'{folder}' holds texts of other images than its own: remove it and build it again.")
