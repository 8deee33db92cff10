"""Sort-of-CLEVR as a TFDS dataset in ArrayRecord files: built once, then read by index. Needs no TensorFlow.

Importing this file imports TFDS, which takes seconds; `data.source` does so only when the dataset is asked for.
"""

import io
import os
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import ClassVar

import tensorflow_datasets as tfds
from tqdm import tqdm

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data import sort_of_clevr
from vlfusion_jax.data.prepare import prepare
from vlfusion_jax.data.records import EncodedImage, Question, Record, count_answers

SPLITS = ("train", "test")


class SortOfClevrConfig(tfds.core.BuilderConfig):
    """How many images each split has, and the seed they are drawn from; 9,800 + 200 as published."""

    def __init__(self, train_images: int = 9800, test_images: int = 200, seed: int = 0):
        """The numbers name the configuration, so that different sets lie beside each other."""
        super().__init__(
            name=f"train{train_images}_test{test_images}_seed{seed}",
            description=f"{train_images} training and {test_images} test images drawn from seed {seed}.",
        )
        self.images = {"train": train_images, "test": test_images}
        self.seed = seed


class SortOfClevr(tfds.core.GeneratorBasedBuilder):
    """Sort-of-CLEVR with questions and captions in English."""

    BUILDER_CONFIGS: ClassVar = [SortOfClevrConfig()]
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "Six coloured objects, twenty questions and a caption an image."}

    def _info(self) -> tfds.core.DatasetInfo:
        size = sort_of_clevr.IMAGE_SIZE
        return self.dataset_info_from_configs(
            description=sort_of_clevr.__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(size, size, 3), encoding_format="png"),
                    "caption": tfds.features.Text(),
                    "question": tfds.features.Sequence(tfds.features.Text()),
                    "answer": tfds.features.Sequence(tfds.features.Text()),
                    "kind": tfds.features.Sequence(tfds.features.Text()),
                }
            ),
            homepage="https://arxiv.org/abs/1706.01427",
            disable_shuffling=True,  # scenes are drawn independently; file order = scene number
        )

    def _split_generators(self, dl_manager):
        del dl_manager  # nothing is downloaded
        return {split: self._generate_examples(number, split) for number, split in enumerate(SPLITS)}

    def _generate_examples(self, number: int, split: str):
        indices = range(self.builder_config.images[split])
        for index in tqdm(indices, desc=f"drawing sort_of_clevr {split}", unit="image", mininterval=0.5):
            png, caption, questions = sort_of_clevr.make_example(self.builder_config.seed, number, index)
            yield (
                index,
                {
                    "image": io.BytesIO(png),  # TFDS writes encoded bytes as they are; arrays would need TensorFlow
                    "caption": caption,
                    "question": [question.text for question in questions],
                    "answer": [question.answers[0][0] for question in questions],
                    "kind": [question.kind for question in questions],
                },
            )


class SortOfClevrSource:
    """One split of a built dataset as records; texts and PNG bytes stay in memory once read (some KB an image)."""

    images_per_record = 1
    labelled = False

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        """Open `split`, 'train' or 'test', of a prepared `builder`."""
        self._rows = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        self._split = split
        self._read = lru_cache(maxsize=None)(self._read)

    def _read(self, index: int) -> Record:
        row = self._rows[index]
        questions = zip(row["question"], row["answer"], row["kind"], strict=True)
        return Record(
            images=(EncodedImage(bytes(row["image"]), f"sort_of_clevr/{self._split}/{index}"),),
            captions=(row["caption"].decode(),),
            questions=tuple(Question(q.decode(), ((a.decode(), 1.0),), k.decode()) for q, a, k in questions),
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self._rows)

    def __getitem__(self, index: int) -> Record:
        """Record `index`."""
        return self._read(index)

    def text_of(self, index: int) -> tuple[tuple[str, ...], tuple[Question, ...]]:
        """(captions, questions) of record `index`."""
        record = self._read(index)
        return record.captions, record.questions

    def texts(self) -> Iterator[str]:
        """Every caption and question text."""
        for index in range(len(self)):
            captions, questions = self.text_of(index)
            yield from captions
            yield from (question.text for question in questions)

    def answer_counts(self) -> Counter[str]:
        """How often each answer was given."""
        return count_answers(self)


def open_sort_of_clevr(data_dir: str | os.PathLike, split: str, sizes: SortOfClevrConfig) -> SortOfClevrSource:
    """Open a split, building the dataset under `data_dir` first where it is not there yet.

    Building shows a progress bar, and takes half a minute for the published sizes. It happens in a folder of its own
    that is renamed at the end, so an interrupted build leaves nothing that looks finished. Processes that share
    `data_dir` wait for the one that builds.

    Raises UserError for an unknown split and for a folder that cannot be written.
    """
    if split not in SPLITS:
        raise UserError(
            f"sort_of_clevr has no split '{split}': set data.train_split and data.eval_split to one of {SPLITS}."
        )
    folder = Path(data_dir).expanduser()
    sizes = SortOfClevr.builder_configs.get(sizes.name, sizes)  # TFDS wants its own object for a configuration it knows
    builder = _builder(folder, sizes)
    if not builder.data_path.exists():
        try:
            builder = prepare(folder, "sort_of_clevr", partial(_builder, folder, sizes))
        except OSError as error:
            message = (
                f"cannot build sort_of_clevr in data.path '{folder}': {error}. Choose a folder that can be written."
            )
            raise UserError(message) from error
    return SortOfClevrSource(builder, split)


def _builder(folder: Path, sizes: SortOfClevrConfig) -> SortOfClevr:
    return SortOfClevr(data_dir=folder, config=sizes, file_format="array_record")
