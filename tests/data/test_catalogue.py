"""Data sets of TFDS's catalogue, prepared here with the features of its own builders, read without TensorFlow."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from tensorflow_datasets.core.features.feature import TensorInfo

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.source import open_source


def jpeg(seed):
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()


def png_mask():
    file = io.BytesIO()
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(file, "PNG")
    return io.BytesIO(file.getvalue())


class _Prepared(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.1.0")

    def __init__(self, name, features, splits, config, **more):
        self.name, self._features, self._splits = name, features, splits
        if config:
            config = tfds.core.BuilderConfig(name=config, version=self.VERSION)
            self.BUILDER_CONFIGS = [config]
        super().__init__(config=config, **more)

    def _info(self):
        features = tfds.features.FeaturesDict(self._features)
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(rows) for split, rows in self._splits.items()}

    def _generate_examples(self, rows):
        yield from enumerate(rows)


def prepare(folder, name, features, splits, config=None, file_format="array_record"):
    builder = _Prepared(name, features, splits, config, data_dir=folder, file_format=file_format)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))


def opened(name, folder, split):
    data = default_config().data
    data.source, data.path = f"tfds:{name}", str(folder)
    return open_source(data, split)


# As object_detection/coco_captions.py has them, whose class needs TensorFlow.
COCO = {
    "image": tfds.features.Image(encoding_format="jpeg"),
    "image/filename": tfds.features.Text(),
    "image/id": np.int64,
    "objects": tfds.features.Sequence({"bbox": tfds.features.BBoxFeature(), "is_crowd": np.bool_}),
    "captions": tfds.features.Sequence({"text": tfds.features.Text(), "id": np.int64}),
}


def coco_row(number):
    box = {"bbox": tfds.features.BBox(0.1, 0.1, 0.5, 0.5), "is_crowd": False}
    captions = [{"text": f"a  dog {number}\n", "id": 2 * number}, {"text": "a dog", "id": 2 * number + 1}]
    return {
        "image": io.BytesIO(jpeg(number)), "image/filename": f"COCO_{number}.jpg", "image/id": number,
        "objects": [box] * number, "captions": captions,
    }  # fmt: skip


def test_coco_captions(tmp_path):
    splits = {"train": [coco_row(0), coco_row(1)], "restval": [coco_row(2)]}
    prepare(tmp_path, "coco_captions", COCO, splits, config="2014")
    source = opened("coco_captions", tmp_path, "train+restval")
    assert len(source) == 3
    for index in range(3):
        record = source[index]
        assert record.image == jpeg(index)
        assert record.image_name == f"coco_captions/train+restval/COCO_{index}.jpg"
        assert record.captions == (f"a dog {index}", "a dog")
    assert len(opened("coco_captions/2014", tmp_path, "restval")) == 1


def test_clevr(tmp_path):
    features = dict(tfds.builder_cls("clevr")(data_dir=tmp_path / "none").info.features.items())

    def row(number, answer):
        pairs = [{"question": f"How many {number}?", "answer": answer}, {"question": "Any?", "answer": answer}]
        return {
            "image": io.BytesIO(jpeg(number)), "file_name": f"CLEVR_{number}.png", "objects": [],
            "question_answer": pairs,
        }  # fmt: skip

    prepare(tmp_path, "clevr", features, {"train": [row(0, "2"), row(1, "yes")], "test": [row(2, "")]})
    source = opened("clevr", tmp_path, "train")
    questions = source.text_of(1)[1]
    assert [(each.text, each.answers) for each in questions] == [
        ("How many 1?", (("yes", 1.0),)), ("Any?", (("yes", 1.0),))
    ]  # fmt: skip
    assert source.answer_counts() == {"2": 2, "yes": 2}
    assert source[1].image == jpeg(1)
    assert [each.answers for each in opened("clevr", tmp_path, "test").text_of(0)[1]] == [(), ()]


def test_ref_coco(tmp_path, monkeypatch):
    features = dict(tfds.builder("ref_coco/refcoco_unc", data_dir=tmp_path / "none").info.features.items())

    def thing(number, expressions):
        return {
            "id": number, "area": 9, "bbox": tfds.features.BBox(0.0, 0.0, 0.5, 0.5), "label": 1, "gt_box_index": 0,
            "mask": png_mask(), "refexp": [{"refexp_id": 0, "raw": text} for text in expressions],
        }  # fmt: skip

    objects = [thing(1, ["the left dog", "a dog on  the left"]), thing(2, ["right dog", "the left dog", "it"])]
    rows = [{"image": io.BytesIO(jpeg(5)), "image/id": 77, "objects": objects, "coco_annotations": []}]
    # All that writing sequences in sequences needs TensorFlow for is the name of a type.
    monkeypatch.setattr(TensorInfo, "dtype", property(lambda self: self.np_dtype))
    prepare(tmp_path, "ref_coco", features, {"testA": rows}, config="refcoco_unc")
    record = opened("ref_coco/refcoco_unc", tmp_path, "testA")[0]
    assert record.captions == ("the left dog", "a dog on the left", "right dog", "it")
    assert record.image == jpeg(5)
    assert record.image_name == "ref_coco/refcoco_unc/testA/77"


def test_what_is_not_there_says_how_to_prepare_it(tmp_path):
    with pytest.raises(UserError, match=r"'tfds:clevr' is not prepared in data.path .*: run tfds build clevr --file_f"):
        opened("clevr", tmp_path, "train")
    with pytest.raises(
        UserError, match=r"'tfds:mnist' is not known here: choose one of coco_captions, clevr, ref_coco"
    ):
        opened("mnist", tmp_path, "train")
    for config in ("2014", "2017"):
        prepare(tmp_path, "coco_captions", COCO, {"train": [coco_row(0)]}, config=config)
    with pytest.raises(UserError, match="has several configurations: name one, as tfds:coco_captions/2014"):
        opened("coco_captions", tmp_path, "train")
    with pytest.raises(UserError, match=r"no split 'val': set data.train_split and data.eval_split to one of train"):
        opened("coco_captions/2017", tmp_path, "val")


def test_other_file_formats_are_refused(tmp_path):
    prepare(tmp_path, "coco_captions", COCO, {"train": [coco_row(0)]}, config="2014")
    info = next(tmp_path.glob("**/dataset_info.json"))
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    with pytest.raises(UserError, match=r"holds tfrecord files, which are not read by index: run tfds build coco_cap"):
        opened("coco_captions", tmp_path, "train")
