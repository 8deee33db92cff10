"""Data sets of TFDS's own catalogue, where they are prepared as ArrayRecord files: `tfds:coco_captions` and others.

Reading needs no TensorFlow. Preparing does for most, and is TFDS's:
`pip install tensorflow && tfds build coco_captions --file_format=array_record --data_dir=DIR`.

Opening reads every record once, for its texts.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tqdm import tqdm

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.prepared import PreparedSource, Texts, check_splits
from vlfusion_jax.data.records import Question

_ARRAY_RECORD = "array_record"


def open_catalogued(name: str, data_dir: Path, split: str) -> PreparedSource:
    """Open `split`, such as train or train+restval, of data set `name`, that is NAME or NAME/CONFIG.

    * coco_captions: images with their captions, in Karpathy's splits.
    * clevr: questions with their answers; those of its test split have none.
    * ref_coco/CONFIG: the expressions that refer to an image's objects are its captions; boxes and masks are not read.

    Raises:
      UserError: what is in the data set is not known here, it is not prepared below `data_dir` or not as ArrayRecord
        files, it has several configurations of which none is named, or it has no such split.
    """
    known = _TEXTS.get(name.partition("/")[0])
    if known is None:
        raise UserError(f"data.source 'tfds:{name}' is not known here: choose one of {', '.join(_TEXTS)}.")
    folder = _newest(name, data_dir)
    builder = tfds.builder_from_directory(folder)
    if builder.info.file_format.value != _ARRAY_RECORD:
        raise UserError(
            f"'{folder}' holds {builder.info.file_format.value} files, which are not read by index: {_advice(name)}"
        )
    check_splits(split.split("+"), list(builder.info.splits), str(folder))
    rows = builder.as_data_source(split, decoders=_skip_images(builder.info.features))
    names, texts = [], []
    for index in tqdm(range(len(rows)), desc=f"reading {name} {split}", unit=" images", leave=False, mininterval=0.5):
        row = rows[index]
        names.append((f"{name}/{split}/{_name(row, index)}",))
        texts.append(known(row))
    return PreparedSource(rows, names, texts)


def _newest(name: str, data_dir: Path) -> Path:
    """The folder of the newest version of a data set."""
    folders = [file.parent for file in (data_dir / name).glob("**/dataset_info.json")]
    if not folders:
        raise UserError(f"data.source 'tfds:{name}' is not prepared in data.path '{data_dir}': {_advice(name)}")
    if len(configs := sorted({folder.parent.relative_to(data_dir).as_posix() for folder in folders})) > 1:
        raise UserError(f"data.source 'tfds:{name}' has several configurations: name one, as tfds:{configs[0]}.")
    return max(folders, key=lambda folder: tfds.core.Version(folder.name))


def _advice(name: str) -> str:
    return (
        f"run tfds build {name} --file_format={_ARRAY_RECORD} --data_dir=DIR where TensorFlow is installed (pip install"
        " tensorflow), and set data.path to DIR."
    )


class _Encoded(tfds.decode.SkipDecoding):
    """Leaves images encoded, in sequences too, which TFDS's own does with TensorFlow alone."""

    def decode_batch_example_np(self, batch: Any) -> Any:
        """The encoded images."""
        return batch


def _skip_images(features: Any) -> Any:
    """Decoders that leave every image encoded."""
    if isinstance(features, tfds.features.Image):
        return _Encoded()
    if isinstance(features, tfds.features.Sequence):
        return _skip_images(features.feature)
    if isinstance(features, tfds.features.FeaturesDict):
        found = {key: _skip_images(feature) for key, feature in features.items()}
        return {key: decoder for key, decoder in found.items() if decoder} or None
    return None


def _name(row: dict[str, Any], index: int) -> str:
    for key in ("image/filename", "file_name", "image/id"):
        if key in row:
            return row[key].decode() if isinstance(row[key], bytes) else str(row[key])
    return str(index)


def _coco_captions(row: dict[str, Any]) -> Texts:
    return tuple(_one_line(text) for text in row["captions"]["text"]), ()


def _clevr(row: dict[str, Any]) -> Texts:
    asked = row["question_answer"]
    pairs = [(_one_line(q), _one_line(a)) for q, a in zip(asked["question"], asked["answer"], strict=True)]
    return (), tuple(Question(question, ((answer, 1.0),) if answer else ()) for question, answer in pairs)


def _ref_coco(row: dict[str, Any]) -> Texts:
    expressions = (_one_line(text) for each in row["objects"]["refexp"]["raw"] for text in each)
    return tuple(dict.fromkeys(expressions)), ()


def _one_line(text: bytes) -> str:
    return " ".join(text.decode().split())


_TEXTS: dict[str, Callable[[dict[str, Any]], Texts]] = {
    "coco_captions": _coco_captions,
    "clevr": _clevr,
    "ref_coco": _ref_coco,
}
