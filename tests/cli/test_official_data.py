"""`vlfusion data NAME`: an official data set built, reported, checked and trained on by the commands."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from vlfusion_jax.cli.main import main

ANSWERS = {0: "dark", 1: "bright"}
RARE = 3  # the number of a question whose answer nobody else gives


@pytest.fixture(scope="module")
def manual_dir(tmp_path_factory):
    """Twelve dark and bright images with a question each in train, four in val; one training image is missing."""
    folder = tmp_path_factory.mktemp("vqav2")
    for split, numbers in (("train2014", range(12)), ("val2014", range(20, 24))):
        questions, annotations = [], []
        (folder / split).mkdir()
        for number in numbers:
            file = io.BytesIO()
            Image.fromarray(np.full((24, 32, 3), 40 + 170 * (number % 2), np.uint8)).save(file, "JPEG")
            (folder / split / f"COCO_{split}_{number:012d}.jpg").write_bytes(file.getvalue())
            answer = "twilight" if number == RARE else ANSWERS[number % 2]
            questions.append({"question_id": number, "image_id": number, "question": "how is the light?"})
            annotations.append(
                {
                    "question_id": number, "image_id": number, "answer_type": "other", "question_type": "how",
                    "multiple_choice_answer": answer, "answers": [{"answer": answer, "answer_id": 1}] * 10,
                }
            )  # fmt: skip
        (folder / f"v2_OpenEnded_mscoco_{split}_questions.json").write_text(json.dumps({"questions": questions}))
        (folder / f"v2_mscoco_{split}_annotations.json").write_text(json.dumps({"annotations": annotations}))
    (folder / "train2014/COCO_train2014_000000000000.jpg").unlink()
    return folder


@pytest.fixture(scope="module")
def data_dir(manual_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    assert main(["data", "vqav2", f"--manual_dir={manual_dir}", f"--data_dir={folder}"]) == 0
    return folder


def run_flags(data_dir):
    return [
        "--config=configs/tiny.py", "--config.data.source=vqav2", f"--config.data.path={data_dir}",
        "--config.data.eval_split=val", "--config.tasks.mlm.weight=0.0", "--config.tasks.itm.weight=0.0",
        "--config.tasks.vqa.weight=1.0", "--config.data.answers_min_count=2",
    ]  # fmt: skip


def test_the_report(manual_dir, data_dir, capsys):
    again = ["data", "vqav2", f"--manual_dir={manual_dir}", f"--data_dir={data_dir}"]
    assert main(again) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"vqav2 is in {data_dir / 'vqav2/1.0.0'}"
    table = [line.split() for line in lines[1:4]]
    assert table == [["split", "images", "captions", "questions"], ["train", "11", "0", "11"], ["val", "4", "0", "4"]]
    assert lines[5].split() == ["left", "out", "of", "such", "as", "number"]
    assert lines[6].split()[:4] == ["image", "is", "missing", "train"]
    assert lines[6].endswith(" 1")
    # Dark and bright are the answers of 8 and 7 questions, and nine are asked for.
    assert lines[8:] == [
        "0 answers were given 9 times or more (data.answers_min_count=9)",
        "11 of 11 training questions have no answer in the vocabulary: they are left out",
    ]


def test_check_and_train(data_dir, tmp_path, capsys):
    assert main(["data", "check", *run_flags(data_dir)]) == 0
    out = capsys.readouterr().out
    assert "2 answers dark, bright" in out
    assert "images      11, height×width 24×32" in out
    assert "answered    90.9% of the questions" in out
    train = ["train", *run_flags(data_dir), f"--workdir={tmp_path / 'run'}", "--config.train.steps=2"]
    assert main([*train, "--config.optim.warmup_steps=1"]) == 0
    printed = capsys.readouterr()
    assert "1 of 11 training questions have no answer in the vocabulary: they are left out" in printed.err
    assert "accuracy_other" in printed.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vqav2"], "--manual_dir is missing"),
        (["vqa2", "--manual_dir=."], "Did you mean 'vqav2'?"),
        (["gqa", "--manual_dir=nowhere"], "'nowhere' is not a folder"),
    ],
)
def test_mistakes_end_in_one_message(arguments, message, tmp_path, capsys):
    assert main(["data", *arguments, f"--data_dir={tmp_path / 'built'}"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
