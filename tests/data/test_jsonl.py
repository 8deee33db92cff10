"""JSONL sets: grouping, tar = folder, soft scores, threads, and a message for every kind of damage."""

import io
import json
import os
import tarfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.images import decode_image
from vlfusion_jax.data.source import open_source

ROW = {"image": "0.png", "question": "why ?", "answer": "so"}


def open_rows(jsonl_config, folder, split="train"):
    return open_source(jsonl_config(folder).data, split)


def test_rows_of_an_image_become_one_record(toy_folder, jsonl_config, png):
    source = open_rows(jsonl_config, toy_folder)
    names = [source[i].image_name for i in range(len(source))]
    assert [name.rsplit("/", 1)[1] for name in names] == ["0.png", "2.png", "4.png", "1.png", "3.png"]
    assert [len(source[i].questions) for i in range(5)] == [0, 2, 4, 1, 3]
    assert [source[i].captions for i in range(5)] == [("a red thing",), ("a blue thing",), ("a white thing",), (), ()]
    assert [source[i].image for i in range(5)] == [png(8, 8, n) for n in (0, 2, 4, 1, 3)]
    assert [q.text for q in source[2].questions] == [f"question {q} about white ?" for q in range(4)]
    assert [q.answers for q in source[2].questions] == [((a, 1.0),) for a in ("yes", "no", "yes", "no")]
    assert {q.kind for q in source[2].questions} == {"k"}
    assert all(source.text_of(i) == (source[i].captions, source[i].questions) for i in range(5))
    assert len(list(source.texts())) == 3 + 10


def test_tar_gives_the_same_as_folder_also_from_threads(tmp_path, write_jsonl, jsonl_config, png):
    images = {f"deep/{n}.png": png(8, 8, n) for n in range(20)}
    rows = [{"image": name, "caption": f"number {name}"} for name in images]
    folder = open_rows(jsonl_config, write_jsonl(tmp_path / "folder", rows, images))
    tar = open_rows(jsonl_config, write_jsonl(tmp_path / "tar", rows, images, tar=True))
    order = [i % 20 for i in range(400)]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda i: tar[i], order))
    assert [r.image for r in read] == [folder[i].image for i in order]
    assert [r.captions for r in read] == [folder[i].captions for i in order]
    assert "images_all.tar" in tar[0].image_name


def test_images_beside_the_jsonl_are_found(tmp_path, write_jsonl, jsonl_config, png):
    folder = write_jsonl(tmp_path, [ROW], {})
    (folder / "0.png").write_bytes(png(8, 8))
    assert open_rows(jsonl_config, folder)[0].image == png(8, 8)


def test_field_names_come_from_the_config(tmp_path, write_jsonl, jsonl_config, png):
    rows = [{"file": "0.png", "q": "how many ?", "a": 3, "type": 7, "text": ["one", "two", "one"]}]
    config = jsonl_config(write_jsonl(tmp_path, rows, {"0.png": png(8, 8)}))
    config.data.fields.update({"image": "file", "question": "q", "answer": "a", "kind": "type", "caption": "text"})
    captions, (question,) = open_source(config.data, "train").text_of(0)
    assert captions == ("one", "two")
    assert (question.text, question.answers, question.kind) == ("how many ?", (("3", 1.0),), "7")


@pytest.mark.parametrize(
    ("given", "scores"),
    [
        ("a", {"a": 1.0}),
        ("aa", {"a": 1.0}),
        ("ab", {"a": 1 / 2, "b": 1 / 2}),
        ("aab", {"a": 2 / 3, "b": 1 / 3}),
        ("abc", {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}),
        ("aaab", {"a": 0.9, "b": 0.3}),
        ("aabcd", {"a": 0.6, "b": 0.3, "c": 0.3, "d": 0.3}),
        ("daaaabbbcc", {"a": 1.0, "b": 0.9, "c": 0.6, "d": 0.3}),
    ],
)
def test_annotators_answers_become_soft_scores(tmp_path, write_jsonl, jsonl_config, png, given, scores):
    folder = write_jsonl(tmp_path, [ROW | {"answer": list(given)}], {"0.png": png(8, 8)})
    (question,) = open_rows(jsonl_config, folder).text_of(0)[1]
    assert dict(question.answers) == pytest.approx(scores)
    assert [answer for answer, _ in question.answers] == sorted(scores), "best first, then by name"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW, "{'image': 1}"], "line 2 is not valid JSON"),
        ([ROW, "", '"text"'], "line 3 is not a JSON object but str"),
        ([ROW, {"question": "why ?", "answer": "so"}], "line 2 has no field 'image'.*data.fields.image"),
        ([ROW, ROW | {"image": 5}], "line 2: field 'image' is 5, expected a text"),
        ([ROW, ROW | {"image": "none.png"}], "line 2: image 'none.png' is in no"),
        ([{"image": "0.png", "query": "why ?"}], "line 1 has neither field 'caption' nor 'question'.*image, query"),
        ([ROW, {"image": "0.png", "question": "why ?"}], "line 2 has no field 'answer'.*data.fields.answer"),
        ([ROW | {"answer": []}], "line 1: field 'answer'"),
        ([ROW | {"answer": {"text": "so"}}], "line 1: field 'answer'"),
        ([ROW | {"caption": 3}], "line 1: field 'caption'"),
        ([ROW | {"caption": ["fine", " "]}], "line 1: field 'caption'"),
        ([ROW | {"question": ""}], "line 1: field 'question'"),
        ([ROW | {"question": ["why ?"]}], "line 1: field 'question'"),
        (
            [ROW, ROW | {"caption": "half \ud83d"}],
            r"line 2: field 'caption' holds \"\\ud83d\", half of a surrogate pair",
        ),
        ([ROW | {"question": "\ude00 ?"}], "line 1: field 'question' holds .*surrogate"),
        ([ROW | {"answer": ["so", "\ud83d"]}], "line 1: field 'answer' holds .*surrogate"),
        ([ROW | {"kind": "\ud83d"}], "line 1: field 'kind' holds .*surrogate"),
        ([ROW | {"image": "\ud83d.png"}], "line 1: field 'image' holds .*surrogate"),
        ([ROW, ROW | {"image": "data:" + "x" * 5000}], "line 2: image 'data:x{74}…' is in no"),
        ([], "empty"),
        (["", " "], "empty"),
    ],
)
def test_damaged_rows_are_refused(tmp_path, write_jsonl, jsonl_config, png, rows, message):
    folder = write_jsonl(tmp_path, rows, {"0.png": png(8, 8)})
    with pytest.raises(UserError, match=message) as caught:
        open_rows(jsonl_config, folder)
    assert str(tmp_path) in str(caught.value), "names the file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_unreadable_file_is_refused(toy_folder, jsonl_config):
    (toy_folder / "train.jsonl").chmod(0)
    with pytest.raises(UserError, match=r"cannot read '.*train.jsonl': Permission denied"):
        open_rows(jsonl_config, toy_folder)


def test_missing_folder_and_split_are_refused(tmp_path, toy_folder, jsonl_config):
    with pytest.raises(UserError, match=r"data.path .*nowhere' is not a folder"):
        open_rows(jsonl_config, tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"val.jsonl' does not exist.*splits there: train"):
        open_rows(jsonl_config, toy_folder, "val")


def pack(path, *members: tuple[str, bytes | str]) -> None:
    """Write a tar file of (name, content), a `str` being the name that a hard link leads to."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname, content = tarfile.LNKTYPE, content, b""
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def test_tar_of_the_folder_itself(tmp_path, write_jsonl, jsonl_config):
    rows = [{"image": name, "caption": "c"} for name in ("0.png", "images/1.png", "2.png")]
    folder = write_jsonl(tmp_path, rows, {"2.png": b"in the folder"})
    pack(folder / "images.tar", ("images/0.png", b"zero"), ("images/1.png", b"one"))
    source = open_rows(jsonl_config, folder)
    assert [source[i].image for i in range(3)] == [b"zero", b"one", b"in the folder"]


def test_last_of_equal_names_in_the_first_tar_counts(tmp_path, write_jsonl, jsonl_config):
    folder = write_jsonl(tmp_path, [ROW], {})
    pack(folder / "images_1.tar", ("0.png", b"old"), ("1.png", b"other"), ("./0.png", b"newer"))
    pack(folder / "images_2.tar", ("0.png", b"elsewhere"))
    assert open_rows(jsonl_config, folder)[0].image == b"newer"


def test_hard_links_in_a_tar_are_followed(tmp_path, write_jsonl, jsonl_config):
    folder = write_jsonl(tmp_path, [{"image": f"{n}.png", "caption": "c"} for n in range(3)], {})
    pack(folder / "images.tar", ("./0.png", b"zero"), ("./1.png", "./0.png"), ("2.png", "1.png"))
    source = open_rows(jsonl_config, folder)
    assert [source[i].image for i in range(3)] == [b"zero"] * 3


def test_spellings_of_a_name_are_one_record(tmp_path, write_jsonl, jsonl_config, png):
    rows = [{"image": name, "caption": name} for name in ("a/0.png", "./a/0.png", "a//0.png")]
    source = open_rows(jsonl_config, write_jsonl(tmp_path, rows, {"a/0.png": png(8, 8)}))
    assert [source.text_of(i)[0] for i in range(len(source))] == [("a/0.png", "./a/0.png", "a//0.png")]


def test_names_in_the_tar_are_shown_for_a_missing_image(tmp_path, write_jsonl, jsonl_config):
    folder = write_jsonl(tmp_path, [ROW], {})
    pack(folder / "images.tar", *((f"deep/{n}.jpg", b"") for n in range(5)))
    with pytest.raises(UserError, match=r"'0.png' is in no .*; the tar files hold 'deep/0.jpg' and 'deep/1.jpg'\.$"):
        open_rows(jsonl_config, folder)


def test_damaged_tar_is_refused(tmp_path, write_jsonl, jsonl_config):
    folder = write_jsonl(tmp_path, [ROW], {})
    (folder / "images.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(UserError, match=r"images.tar' as an uncompressed tar"):
        open_rows(jsonl_config, folder)


def test_file_that_goes_after_opening_is_named(tmp_path, write_jsonl, jsonl_config, png):
    folder = write_jsonl(tmp_path / "folder", [ROW], {"0.png": png(8, 8)})
    source = open_rows(jsonl_config, folder)
    (folder / "images" / "0.png").unlink()
    with pytest.raises(UserError, match=r"file '0.png' is no longer in"):
        source[0]
    packed = write_jsonl(tmp_path / "packed", [ROW], {"0.png": png(8, 8)}, tar=True)
    source = open_rows(jsonl_config, packed)
    with (packed / "images_all.tar").open("r+b") as file:
        file.truncate(600)
    with pytest.raises(UserError, match=r"images_all.tar' ends inside file '0.png'"):
        source[0]


@pytest.mark.parametrize("name", ["easy_vqa", "noto_emoji"])
def test_third_party_sets_open(data_folder, jsonl_config, name):
    folder = data_folder(name)
    split = {"easy_vqa": "test", "noto_emoji": "val"}[name]
    source = open_rows(jsonl_config, folder, split)
    rows = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()]
    assert len(source) == len({row["image"] for row in rows})
    texts = {"easy_vqa": "question", "noto_emoji": "caption"}[name]
    assert sorted(source.texts()) == sorted(row[texts] for row in rows)
    with tarfile.open(folder / "images.tar") as tar:
        for index in (0, len(source) // 2, len(source) - 1):
            record = source[index]
            member = record.image_name.split(".tar:")[1]
            assert record.image == tar.extractfile(member).read()
            assert decode_image(record.image, record.image_name).ndim == 3
