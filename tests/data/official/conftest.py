"""Small files to the schema of each official data set, as they lie after unpacking."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

PEOPLE = ["Yes", "yes", "yes.", "yes", "no", "no", "no", "maybe", "maybe", "the sun"]


def encoded(seed: int, kind: str) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (5 + seed % 4, 7, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture
def draw() -> Callable[..., None]:
    """Function (folder, names) -> an image of its own in each file."""

    def write(folder: Path, *names: str) -> None:
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(sum(name.encode()), "PNG" if name.endswith("png") else "JPEG"))

    return write


def put_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def put_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def change() -> Callable[[Path, Callable[[Any], None]], None]:
    """Function (file, change in place) -> the JSON or JSONL file changed."""

    def write(path: Path, edit: Callable[[Any], None]) -> None:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl" or path.parent.name == "nlvr2":
            rows = [json.loads(line) for line in text.splitlines()]
            edit(rows)
            put_lines(path, rows)
        else:
            content = json.loads(text)
            edit(content)
            put_json(path, content)

    return write


def _annotation(key: int, image: int, kind: str, chosen: str, people: list[str]) -> dict[str, Any]:
    answers = [
        {"answer": answer, "answer_confidence": "yes", "answer_id": number}
        for number, answer in enumerate(people, start=1)
    ]
    return {
        "question_id": key, "image_id": image, "question_type": "is the", "answer_type": kind,
        "multiple_choice_answer": chosen, "answers": answers,
    }  # fmt: skip


@pytest.fixture
def vqav2(tmp_path, draw) -> Path:
    """Two images with two and one questions in train, one each in val and test."""
    folder = tmp_path / "vqav2"
    asked = {
        "train2014": [(9000, 9, "Is it  hot?"), (25001, 25, "What is it?"), (9001, 9, "How many?")],
        "val2014": [(42000, 42, "Is it wet?")],
        "test2015": [(1000, 1, "Is it you?")],
    }
    for images, questions in asked.items():
        rows = [{"question_id": key, "image_id": image, "question": text} for key, image, text in questions]
        head = {"data_type": "mscoco", "data_subtype": images, "task_type": "Open-Ended", "license": {}, "info": {}}
        put_json(folder / f"v2_OpenEnded_mscoco_{images}_questions.json", head | {"questions": rows})
        draw(folder, *(f"{images}/COCO_{images}_{image:012d}.jpg" for _, image, _ in questions))
    train = [
        _annotation(25001, 25, "other", "t-shirt", ["t-shirt"] * 6 + ["a shirt"] * 4),
        _annotation(9000, 9, "yes/no", "yes", PEOPLE),
        _annotation(9001, 9, "number", "Two", ["2"] * 5 + ["two"] * 5),
    ]
    val = [_annotation(42000, 42, "yes/no", "yes", ["yes"] * 10)]
    put_json(folder / "v2_mscoco_train2014_annotations.json", {"data_subtype": "train2014", "annotations": train})
    put_json(folder / "v2_mscoco_val2014_annotations.json", {"data_subtype": "val2014", "annotations": val})
    return folder


def _karpathy(rows: list[tuple[str, str, list[str]]], **more: Callable[[str], Any]) -> dict[str, Any]:
    images, number = [], 0
    for index, (name, split, captions) in enumerate(rows):
        sentences = [
            {"tokens": raw.lower().split(), "raw": raw, "imgid": index, "sentid": number + place}
            for place, raw in enumerate(captions)
        ]
        number += len(captions)
        row = {"filename": name, "split": split, "imgid": index, "sentences": sentences}
        row["sentids"] = [each["sentid"] for each in sentences]
        images.append(row | {key: value(name) for key, value in more.items()})
    return {"dataset": "small", "images": images}


@pytest.fixture
def coco_karpathy(tmp_path, draw) -> Path:
    """One image in each of the four splits, five captions each."""
    folder = tmp_path / "coco"
    rows = [
        ("COCO_val2014_000000000003.jpg", "restval"),
        ("COCO_train2014_000000000009.jpg", "train"),
        ("COCO_val2014_000000000005.jpg", "val"),
        ("COCO_val2014_000000000007.jpg", "test"),
    ]
    captions = ["A cat.", "a  small\ncat ", "Two cats", "a cat and a dog", "a dog"]
    rows = [(name, split, [f"{text} {split}" for text in captions]) for name, split in rows]
    content = _karpathy(rows, filepath=lambda name: name.split("_")[1], cocoid=lambda name: int(name[-16:-4]))
    put_json(folder / "dataset_coco.json", content)
    draw(folder, *(f"{name.split('_')[1]}/{name}" for name, _, _ in rows))
    return folder


@pytest.fixture
def flickr30k(tmp_path, draw) -> Path:
    """Two images in train, one each in val and test, five captions each."""
    folder = tmp_path / "flickr30k"
    rows = [("1000092795.jpg", "train"), ("10002456.jpg", "train"), ("1007129816.jpg", "test"), ("65567.jpg", "val")]
    rows = [(name, split, [f"Caption {number} of {name}." for number in range(5)]) for name, split in rows]
    put_json(folder / "dataset_flickr30k.json", _karpathy(rows))
    draw(folder, *(f"flickr30k-images/{name}" for name, _, _ in rows))
    return folder


@pytest.fixture
def snli_ve(tmp_path, draw) -> Path:
    """Three hypotheses on two images in train, one in dev and test."""
    folder = tmp_path / "snli_ve"
    rows = {
        "train": [("11", "neutral", "A man."), ("22", "entailment", "A dog."), ("11", "contradiction", "A cat.")],
        "dev": [("33", "neutral", "A bird.")],
        "test": [("44", "entailment", "A fish.")],
    }
    for split, each in rows.items():
        lines = [
            {
                "annotator_labels": [label], "captionID": f"{image}.jpg#0", "gold_label": label,
                "pairID": f"{image}.jpg#{number}r1{label[0]}", "sentence1": "Something.", "sentence2": text,
                "Flickr30K_ID": image,
            }
            for number, (image, label, text) in enumerate(each)
        ]  # fmt: skip
        put_lines(folder / f"snli_ve_{split}.jsonl", lines)
        draw(folder, *(f"flickr30k_images/{image}.jpg" for image, _, _ in each))
    return folder


@pytest.fixture
def gqa(tmp_path, draw) -> Path:
    """Three questions on two images in train, one in val, testdev and test; the last has no answer."""
    folder = tmp_path / "gqa"
    rows = {
        "train": [("02", "n1", "red", "query"), ("03", "7", "yes", "verify"), ("04", "n1", "no", "logical")],
        "val": [("05", "8", "red", "query")],
        "testdev": [("06", "9", "left", "choose")],
        "test": [("07", "10", None, None)],
    }
    for split, each in rows.items():
        content = {}
        for key, image, answer, kind in each:
            content[key] = {"imageId": image, "question": f"What about {key}?", "isBalanced": True}
            if answer:
                content[key] |= {"answer": answer, "fullAnswer": f"It is {answer}.", "types": {"structural": kind}}
        put_json(folder / f"{split}_balanced_questions.json", content)
        draw(folder, *(f"images/{image}.jpg" for _, image, _, _ in each))
    return folder


@pytest.fixture
def visual_genome_qa(tmp_path, draw) -> Path:
    """Two images, in either folder, with two questions and one; an image without questions."""
    folder = tmp_path / "visual_genome"

    def qa(key: int, image: int, question: str, answer: str) -> dict[str, Any]:
        return {
            "qa_id": key, "image_id": image, "question": question, "answer": answer, "a_objects": [], "q_objects": [],
        }  # fmt: skip

    content = [
        {"id": 1, "qas": [qa(10, 1, "Where is it?", "On the table."), qa(11, 1, "How many?", "Three.")]},
        {"id": 2, "qas": []},
        {"id": 3, "qas": [qa(12, 3, "Who?", "A man.")]},
    ]
    put_json(folder / "question_answers.json", content)
    draw(folder, "VG_100K/1.jpg", "VG_100K/2.jpg", "VG_100K_2/3.jpg")
    return folder


@pytest.fixture
def nlvr2(tmp_path, draw) -> Path:
    """Three sentences on two pairs in train, one on a pair in dev and test1."""
    folder = tmp_path / "nlvr2"
    rows = {
        "train": [("train-7-0-0", "True", 63), ("train-9-1-0", "False", 4), ("train-7-0-1", "False", 63)],
        "dev": [("dev-0-0-0", "False", None)],
        "test1": [("test1-5-0-0", "True", None)],
    }
    for split, each in rows.items():
        lines = []
        for key, label, directory in each:
            lines.append({"identifier": key, "label": label, "sentence": f"Said by {key}.", "synset": "dog"})
            if directory is not None:
                lines[-1]["directory"] = directory
            where = f"images/train/{directory}" if split == "train" else split
            pair = key[: key.rindex("-")]
            draw(folder, f"{where}/{pair}-img0.png", f"{where}/{pair}-img1.png")
        put_lines(folder / f"{split}.json", lines)
    return folder
