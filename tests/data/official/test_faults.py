"""What is wrong with the files of a data set is named, what is left out counted, and nothing half-built stays."""

import json
import re
import shutil

import pytest
import tensorflow_datasets as tfds

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.official import build as building
from vlfusion_jax.data.official.build import build
from vlfusion_jax.data.official.kept import read_dropped, read_entries
from vlfusion_jax.data.official.table import DATA_SETS

QUESTIONS = "v2_OpenEnded_mscoco_train2014_questions.json"
ANNOTATIONS = "v2_mscoco_train2014_annotations.json"
QA = "question_answers.json"

# data set, file, what is done to its content, and what the one message has to say.
FAULTS = [
    ("vqav2", QUESTIONS, lambda c: c["questions"].append(c["questions"][0]), r"questions\[3\]: 9000 is there twice"),
    (
        "vqav2",
        QUESTIONS,
        lambda c: c["questions"].append({"question_id": 5, "image_id": 9, "question": "?"}),
        r"questions\[3\]: question 5 has no annotation",
    ),
    ("vqav2", QUESTIONS, lambda c: c["questions"].pop(), r"annotations\[2\]: question 9001 is not in .*questions.json"),
    (
        "vqav2",
        QUESTIONS,
        lambda c: c["questions"][0].pop("question"),
        r"questions\[0\]: the text 'question' is missing",
    ),
    ("vqav2", QUESTIONS, lambda c: c["questions"][1].update(image_id="9"), r"questions\[1\]: 'image_id' is '9'"),
    (
        "vqav2",
        QUESTIONS,
        lambda c: c.pop("questions"),
        r"questions.json: a list of objects is expected under 'questions'",
    ),
    (
        "vqav2",
        QUESTIONS,
        lambda c: c["questions"][2].update(question="\ud83d"),
        r"questions\[2\]: field 'question' holds .*half of a surrogate pair",
    ),
    ("vqav2", ANNOTATIONS, lambda c: c["annotations"].append(c["annotations"][0]), r"\[3\]: 25001 is there twice"),
    (
        "vqav2",
        ANNOTATIONS,
        lambda c: c["annotations"][0].update(image_id=9),
        r"\[0\]: question 25001 is about image 9, in",
    ),
    (
        "vqav2",
        ANNOTATIONS,
        lambda c: c["annotations"][1].pop("answer_type"),
        r"\[1\]: the text 'answer_type' is missing",
    ),
    (
        "vqav2",
        ANNOTATIONS,
        lambda c: c["annotations"][1]["answers"][3].pop("answer"),
        r"annotations\[1\], answers\[3\]: the text 'answer' is missing",
    ),
    (
        "coco_karpathy",
        "dataset_coco.json",
        lambda c: c["images"].append(c["images"][0]),
        r"images\[4\]: .* is there twice",
    ),
    ("coco_karpathy", "dataset_coco.json", lambda c: c["images"][2].update(split="dev"), "split 'dev' is unknown"),
    ("coco_karpathy", "dataset_coco.json", lambda c: c["images"][2].update(filepath="../x"), "'filepath' is '../x'"),
    (
        "flickr30k",
        "dataset_flickr30k.json",
        lambda c: c["images"][1].update(filename="../../etc/passwd"),
        r"images\[1\]: '../../etc/passwd' is no name of an image file",
    ),
    (
        "flickr30k",
        "dataset_flickr30k.json",
        lambda c: c["images"][1]["sentences"][2].pop("raw"),
        r"images\[1\], sentences\[2\]: the text 'raw' is missing",
    ),
    ("snli_ve", "snli_ve_train.jsonl", lambda c: c.append(c[1]), r"train.jsonl line 4: '22.jpg#1r1e' is there twice"),
    ("snli_ve", "snli_ve_dev.jsonl", lambda c: c[0].update(gold_label="maybe"), "line 1: label 'maybe' is unknown"),
    ("snli_ve", "snli_ve_dev.jsonl", lambda c: c[0].update(Flickr30K_ID="a/b"), "'a/b.jpg' is no name of an image"),
    ("snli_ve", "snli_ve_test.jsonl", lambda c: c[0].pop("sentence2"), "line 1: the text 'sentence2' is missing"),
    (
        "gqa",
        "val_balanced_questions.json",
        lambda c: c["05"].pop("answer"),
        "question 05: the text 'answer' is missing",
    ),
    (
        "gqa",
        "val_balanced_questions.json",
        lambda c: c["05"].pop("types"),
        "question 05: the object 'types' is missing",
    ),
    ("gqa", "val_balanced_questions.json", lambda c: c.update({"05": 1}), "question 05: an object is expected, got 1"),
    (
        "gqa",
        "train_balanced_questions.json",
        lambda c: c["03"].update(imageId=""),
        "'.jpg' is no name of an image file",
    ),
    ("visual_genome_qa", QA, lambda c: c.append(c[0]), r"question_answers.json, entry 3: 1 is there twice"),
    ("visual_genome_qa", QA, lambda c: c[2]["qas"][0].update(qa_id=10), r"entry 2, qas\[0\]: 10 is there twice"),
    ("visual_genome_qa", QA, lambda c: c[2]["qas"][0].update(image_id=1), r"qas\[0\]: 'image_id' is 1, .* of image 3"),
    ("visual_genome_qa", QA, lambda c: c.append([]), r"question_answers.json: a list of objects is expected"),
    ("nlvr2", "dev.json", lambda c: c[0].update(label="maybe"), "dev.json line 1: label 'maybe' is unknown"),
    ("nlvr2", "train.json", lambda c: c.append(c[0]), "train.json line 4: 'train-7-0-0' is there twice"),
    ("nlvr2", "train.json", lambda c: c[1].pop("directory"), "train.json line 2: 'directory' is None"),
    ("nlvr2", "test1.json", lambda c: c[0].update(identifier="../a-0"), "'../a-0' is no name of an image file"),
]


def assert_nothing_built(folder):
    assert [path for path in folder.rglob("*") if not path.name.endswith(".lock")] == []


@pytest.mark.parametrize(("name", "file", "edit", "message"), FAULTS, ids=[f"{f[0]}-{n}" for n, f in enumerate(FAULTS)])
def test_wrong_entries_are_named(name, file, edit, message, request, change, tmp_path):
    manual = request.getfixturevalue(name)
    change(manual / file, edit)
    with pytest.raises(UserError, match=message) as found:
        build(name, manual, tmp_path / "built")
    assert "\n" not in str(found.value)
    assert not (tmp_path / "built").exists()


FILES = {
    "vqav2": ANNOTATIONS, "coco_karpathy": "dataset_coco.json", "flickr30k": "dataset_flickr30k.json",
    "snli_ve": "snli_ve_dev.jsonl", "gqa": "val_balanced_questions.json", "visual_genome_qa": QA, "nlvr2": "dev.json",
}  # fmt: skip


@pytest.mark.parametrize("name", DATA_SETS)
@pytest.mark.parametrize("content", [b'{"cut', b"[1, 2]", b"\xff\xfe\x00"])
def test_files_that_are_something_else_are_named(name, content, request, tmp_path):
    manual = request.getfixturevalue(name)
    (manual / FILES[name]).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(manual / FILES[name]))):
        build(name, manual, tmp_path / "built")
    assert not (tmp_path / "built").exists()


@pytest.mark.parametrize("name", DATA_SETS)
def test_wrong_folders_say_what_is_expected(name, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "gone"):
        with pytest.raises(UserError) as found:
            build(name, folder, tmp_path / "built")
        message = str(found.value)
        assert str(folder) in message
        assert any(part in message for part in DATA_SETS[name].files.split(", "))
    assert not (tmp_path / "built").exists()


def test_half_of_a_split_is_named(vqav2, tmp_path):
    (vqav2 / ANNOTATIONS).unlink()
    with pytest.raises(UserError, match=rf"{ANNOTATIONS}' is missing, but {QUESTIONS} is there"):
        build("vqav2", vqav2, tmp_path / "built")


def test_images_that_were_not_unpacked_are_named(vqav2, tmp_path):
    shutil.rmtree(vqav2 / "val2014")
    with pytest.raises(UserError, match="val2014' is no folder: unpack the images there"):
        build("vqav2", vqav2, tmp_path / "built")
    (vqav2 / "val2014").mkdir()
    with pytest.raises(
        UserError, match=r"split 'val' of vqav2: none of its images is there, such as .*val2014_0.*42.jpg"
    ):
        build("vqav2", vqav2, tmp_path / "built")
    assert not (tmp_path / "built").exists()


def test_a_question_twice_in_gqa_is_named(gqa, tmp_path):
    file = gqa / "val_balanced_questions.json"
    file.write_text(file.read_text()[:-1] + ', "05": {}}')
    with pytest.raises(UserError, match=r"val_balanced_questions.json: '05' is there twice"):
        build("gqa", gqa, tmp_path / "built")


@pytest.mark.parametrize("name", DATA_SETS)
def test_missing_and_damaged_images_are_left_out_and_counted(name, request, tmp_path):
    manual = request.getfixturevalue(name)
    entries = DATA_SETS[name].read(manual).splits["train"]
    gone = manual / entries[0].images[-1]
    gone.unlink()
    folder = build(name, manual, tmp_path / "first")
    assert read_dropped(folder) == [{"split": "train", "reason": "image is missing", "count": 1, "first": str(gone)}]
    assert read_entries(folder, "train") == entries[1:]
    rows = tfds.builder_from_directory(folder).as_data_source("train")
    assert [row["image_name"].decode() for row in rows] == [entry.images[0] for entry in entries[1:]]

    gone.write_bytes(b"\x89PNG not really")
    folder = build(name, manual, tmp_path / "second")
    assert read_dropped(folder) == [{"split": "train", "reason": "file is no image", "count": 1, "first": str(gone)}]


def test_texts_without_words_are_left_out_and_counted(
    vqav2, flickr30k, snli_ve, visual_genome_qa, nlvr2, change, tmp_path
):
    def dropped(name, manual, file, edit):
        change(manual / file, edit)
        folder = build(name, manual, tmp_path / "built")
        return {(row["split"], row["reason"]): row["count"] for row in read_dropped(folder)}, folder

    found, folder = dropped("vqav2", vqav2, QUESTIONS, lambda c: c["questions"][0].update(question=" \n"))
    assert found == {("train", "question without words"): 1}
    kept = [question.id for entry in read_entries(folder, "train") for question in entry.questions]
    assert kept == ["25001", "9001"]

    def blank(content):
        for sentence in content["images"][0]["sentences"]:
            sentence["raw"] = ""
        content["images"][1]["sentences"][4]["raw"] = " "

    found, folder = dropped("flickr30k", flickr30k, "dataset_flickr30k.json", blank)
    assert found == {("train", "caption without words"): 6, ("train", "image without a caption"): 1}
    assert [len(entry.captions) for entry in read_entries(folder, "train")] == [4]

    def undecided(rows):
        rows[0]["gold_label"] = "-"
        rows[1]["sentence2"] = ""

    found, folder = dropped("snli_ve", snli_ve, "snli_ve_train.jsonl", undecided)
    assert found == {
        ("train", "no label that most annotators agree on"): 1,
        ("train", "hypothesis without words"): 1,
    }
    assert sum(len(entry.questions) for entry in read_entries(folder, "train")) == 1

    def articles(content):
        content[0]["qas"][0]["answer"] = "The."
        content[2]["qas"][0]["question"] = ""

    found, folder = dropped("visual_genome_qa", visual_genome_qa, QA, articles)
    assert found == {("train", "answer without words"): 1, ("train", "question without words"): 1}
    assert [entry.images for entry in read_entries(folder, "train")] == [("VG_100K/1.jpg",)]

    found, folder = dropped("nlvr2", nlvr2, "train.json", lambda rows: rows[0].update(sentence=""))
    assert found == {("train", "sentence without words"): 1}
    assert [len(entry.questions) for entry in read_entries(folder, "train")] == [1, 1]


def test_a_split_of_damaged_images_is_refused_and_nothing_stays(vqav2, tmp_path):
    (vqav2 / "val2014/COCO_val2014_000000000042.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match="split 'val' of vqav2: none of its images can be read"):
        build("vqav2", vqav2, tmp_path / "built")
    assert_nothing_built(tmp_path / "built")


def test_an_interrupted_build_leaves_nothing_and_can_be_repeated(vqav2, tmp_path, monkeypatch):
    def interrupt(entry):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "to_row", interrupt)
        with pytest.raises(KeyboardInterrupt):
            build("vqav2", vqav2, tmp_path / "built")
    assert_nothing_built(tmp_path / "built")
    assert build("vqav2", vqav2, tmp_path / "built").is_dir()


def test_a_folder_that_cannot_be_written_is_named(vqav2, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot build vqav2 in '.*below'"):
        build("vqav2", vqav2, tmp_path / "file" / "below")


def test_a_damaged_data_set_is_named(vqav2, tmp_path):
    folder = build("vqav2", vqav2, tmp_path / "built")
    (folder / "dropped.json").write_text("[")
    with pytest.raises(UserError, match=r"dropped.json: is no JSON"):
        read_dropped(folder)
    assert json.loads((folder / "answer_counts.json").read_text()) == {"yes": 2, "2": 1, "t shirt": 1}
