"""Every official data set from small files of its schema: read back is what the files say, image bytes included."""

import json
import socket
from collections import Counter

import pytest
import tensorflow_datasets as tfds

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.official.build import build
from vlfusion_jax.data.official.table import DATA_SETS
from vlfusion_jax.data.records import Question
from vlfusion_jax.data.source import fingerprint, open_source
from vlfusion_jax.data.vocabulary import build_vocabulary


def opened(name, folder, split):
    data = default_config().data
    data.source, data.path = name, str(folder)
    return open_source(data, split)


def records(source):
    return {source[index].image_name: source.text_of(index) for index in range(len(source))}


def built(name, manual, tmp_path):
    build(name, manual, tmp_path / "built")
    return tmp_path / "built"


def test_no_network_and_nothing_printed(vqav2, tmp_path, monkeypatch, capsys):
    def refuse(*arguments, **keywords):
        raise AssertionError("network touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    folder = build("vqav2", vqav2, tmp_path / "built")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "building vqav2 train" in printed.err
    kept = sorted(file.name for file in folder.iterdir() if "array_record" not in file.name)
    assert kept == [
        "answer_counts.json", "dataset_info.json", "dropped.json", "features.json", "test.texts.jsonl",
        "train.texts.jsonl", "val.texts.jsonl",
    ]  # fmt: skip
    assert json.loads((folder / "dropped.json").read_text()) == []
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert build("vqav2", vqav2 / "gone", tmp_path / "built") == folder
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_vqav2(vqav2, tmp_path):
    folder = built("vqav2", vqav2, tmp_path)
    train = opened("vqav2", folder, "train")
    nine, twenty_five = (f"train2014/COCO_train2014_{image:012d}.jpg" for image in (9, 25))
    assert records(train) == {
        nine: (
            (),
            (
                # Four of ten people said yes, three no, two maybe, and one the sun, an article that goes.
                Question("Is it hot?", (("yes", 1.0), ("no", 0.9), ("maybe", 0.6), ("sun", 0.3)), "yes/no", "9000"),
                Question("How many?", (("2", 1.0),), "number", "9001"),
            ),
        ),
        twenty_five: ((), (Question("What is it?", (("t shirt", 1.0), ("shirt", 1.0)), "other", "25001"),)),
    }
    for index in range(len(train)):
        record = train[index]
        assert record.image == (vqav2 / record.image_name).read_bytes()
        assert (record.captions, record.questions) == train.text_of(index)
    test = opened("vqav2", folder, "test")
    assert test.text_of(0) == ((), (Question("Is it you?", (), id="1000"),))
    assert opened("vqav2", folder, "val").text_of(0)[1][0].answers == (("yes", 1.0),)


def test_trainval_is_train_then_val(vqav2, tmp_path):
    folder = built("vqav2", vqav2, tmp_path)
    both, train, val = (opened("vqav2", folder, split) for split in ("trainval", "train", "val"))
    expected = [source[index] for source in (train, val) for index in range(len(source))]
    assert [both[index] for index in range(len(both))] == expected
    assert fingerprint(both) == fingerprint(opened("vqav2", folder, "train+val")) != fingerprint(train)


def test_answers_are_chosen_by_the_multiple_choice_answers_of_train_and_val(vqav2, tmp_path):
    train = opened("vqav2", built("vqav2", vqav2, tmp_path), "train")
    assert train.answer_counts() == Counter({"yes": 2, "2": 1, "t shirt": 1})
    data = default_config().data
    # "no", "maybe", "sun" and "shirt" are answers of annotators, but nowhere the one chosen.
    assert build_vocabulary([train], data).answers == ("yes", "2", "t shirt")
    data.answers_min_count = 2
    assert build_vocabulary([train], data).answers == ("yes",)


def test_published_threshold():
    assert {name: each.answers_min_count for name, each in DATA_SETS.items() if each.answers_min_count > 1} == {
        "vqav2": 9
    }


def test_coco_karpathy(coco_karpathy, tmp_path):
    folder = built("coco_karpathy", coco_karpathy, tmp_path)
    train = opened("coco_karpathy", folder, "train")
    assert list(records(train)) == [
        "val2014/COCO_val2014_000000000003.jpg",
        "train2014/COCO_train2014_000000000009.jpg",
    ]
    assert train.text_of(0) == (
        ("A cat. restval", "a small cat restval", "Two cats restval", "a cat and a dog restval", "a dog restval"), ()
    )  # fmt: skip
    assert list(records(opened("coco_karpathy", folder, "val"))) == ["val2014/COCO_val2014_000000000005.jpg"]
    test = opened("coco_karpathy", folder, "test")
    assert test[0].image == (coco_karpathy / "val2014/COCO_val2014_000000000007.jpg").read_bytes()
    assert len(list(test.texts())) == 5


def test_flickr30k(flickr30k, tmp_path):
    folder = built("flickr30k", flickr30k, tmp_path)
    sizes = {split: len(opened("flickr30k", folder, split)) for split in ("train", "val", "test")}
    assert sizes == {"train": 2, "val": 1, "test": 1}
    train = opened("flickr30k", folder, "train")
    assert train.text_of(1)[0] == tuple(f"Caption {number} of 10002456.jpg." for number in range(5))
    assert train[1].image == (flickr30k / "flickr30k-images/10002456.jpg").read_bytes()


def test_snli_ve(snli_ve, tmp_path):
    folder = built("snli_ve", snli_ve, tmp_path)
    train = opened("snli_ve", folder, "train")
    assert records(train) == {
        "flickr30k_images/11.jpg": (
            (),
            (
                Question("A man.", (("neutral", 1.0),), id="11.jpg#0r1n"),
                Question("A cat.", (("contradiction", 1.0),), id="11.jpg#2r1c"),
            ),
        ),
        "flickr30k_images/22.jpg": ((), (Question("A dog.", (("entailment", 1.0),), id="22.jpg#1r1e"),)),
    }
    assert build_vocabulary([train], default_config().data).answers == ("contradiction", "entailment", "neutral")
    assert [len(opened("snli_ve", folder, split)) for split in ("dev", "test")] == [1, 1]


def test_gqa(gqa, tmp_path):
    folder = built("gqa", gqa, tmp_path)
    train = opened("gqa", folder, "train")
    assert records(train)["images/n1.jpg"] == (
        (),
        (
            Question("What about 02?", (("red", 1.0),), "query", "02"),
            Question("What about 04?", (("no", 1.0),), "logical", "04"),
        ),
    )
    assert train.answer_counts() == Counter({"red": 2, "yes": 1, "no": 1})
    assert opened("gqa", folder, "testdev").text_of(0)[1][0].answers == (("left", 1.0),)
    assert opened("gqa", folder, "test").text_of(0)[1] == (Question("What about 07?", (), id="07"),)


def test_visual_genome_qa(visual_genome_qa, tmp_path):
    train = opened("visual_genome_qa", built("visual_genome_qa", visual_genome_qa, tmp_path), "train")
    assert records(train) == {
        "VG_100K/1.jpg": (
            (),
            (Question("Where is it?", (("on table", 1.0),), id="10"), Question("How many?", (("3", 1.0),), id="11")),
        ),
        "VG_100K_2/3.jpg": ((), (Question("Who?", (("man", 1.0),), id="12"),)),
    }


def test_nlvr2(nlvr2, tmp_path):
    folder = build("nlvr2", nlvr2, tmp_path / "built")
    skip = tfds.decode.SkipDecoding()
    decoders = {"left_image": skip, "right_image": skip}
    splits = {
        split: tfds.builder_from_directory(folder).as_data_source(split, decoders=decoders)
        for split in ("train", "dev", "test1")
    }
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 2, "dev": 1, "test1": 1}
    row = splits["train"][0]
    for side, name in enumerate(("left_image", "right_image")):
        assert row[name] == (nlvr2 / f"images/train/63/train-7-0-img{side}.png").read_bytes()
    assert list(row["question"]["text"]) == [b"Said by train-7-0-0.", b"Said by train-7-0-1."]
    assert list(row["question"]["id"]) == [b"train-7-0-0", b"train-7-0-1"]
    assert list(row["answer"]["text"]) == [b"true", b"false"]
    source = opened("nlvr2", tmp_path / "built", "train")
    assert (source.images_per_record, source.labelled) == (2, True)
    for side, image in enumerate(source[0].images):
        assert image.data == (nlvr2 / f"images/train/63/train-7-0-img{side}.png").read_bytes()
        assert image.name.endswith(f"train-7-0-img{side}.png")
    assert [question.answers for question in source[0].questions] == [(("true", 1.0),), (("false", 1.0),)]


def test_nlvr2_from_a_clone(nlvr2, tmp_path):
    clone = nlvr2 / "nlvr/nlvr2/data"
    clone.mkdir(parents=True)
    for split in ("train", "dev", "test1"):
        (nlvr2 / f"{split}.json").rename(clone / f"{split}.json")
    folder = build("nlvr2", nlvr2, tmp_path / "built")
    assert tfds.builder_from_directory(folder).info.splits["train"].num_examples == 2


def test_tfds_reads_the_texts_too(vqav2, tmp_path):
    folder = build("vqav2", vqav2, tmp_path / "built")
    rows = tfds.builder_from_directory(folder).as_data_source("train")
    row = rows[0]
    assert row["image"].shape[2] == 3
    assert list(row["question"]["text"]) == [b"Is it hot?", b"How many?"]
    assert list(row["answer"]["question"]) == [0, 0, 0, 0, 1]
    assert row["answer"]["score"] == pytest.approx([1, 0.9, 0.6, 0.3, 1])


def test_a_split_that_is_not_there_is_left_out(vqav2, tmp_path):
    for file in vqav2.glob("*test2015*.json"):
        file.unlink()
    folder = built("vqav2", vqav2, tmp_path)
    assert len(opened("vqav2", folder, "val")) == 1
    with pytest.raises(UserError, match=r"no split 'test': set data.train_split .* one of train, val, or"):
        opened("vqav2", folder, "test")


def test_what_is_not_built_says_how(tmp_path):
    with pytest.raises(UserError, match=r"'gqa' is not built in .*: run vlfusion data gqa --manual_dir=DIR --data_dir"):
        opened("gqa", tmp_path, "train")


def test_texts_of_another_build_are_refused(vqav2, tmp_path):
    folder = built("vqav2", vqav2, tmp_path)
    texts = folder / "vqav2/1.0.0/train.texts.jsonl"
    texts.write_text("".join(reversed(texts.read_text().splitlines(keepends=True))))
    with pytest.raises(UserError, match="holds texts of other images than its own"):
        opened("vqav2", folder, "train")
