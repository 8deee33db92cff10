"""From `vlfusion train` to `vlfusion predict`, as a user would, on a small set of one's own images."""

import json

import numpy as np
import pytest
from PIL import Image

from vlfusion_jax.cli.main import main
from vlfusion_jax.train.checkpoint import load_meta


@pytest.fixture
def flags(folder):
    return [
        "--config=configs/tiny.py",
        "--config.data.source=jsonl",
        f"--config.data.path={folder}",
        "--config.optim.warmup_steps=1",
        "--config.train.steps=3",
    ]


def test_train_evaluate_predict(folder, flags, tmp_path, capsys):
    workdir = tmp_path / "run"
    assert main(["train", *flags, f"--workdir={workdir}"]) == 0
    trained = capsys.readouterr()
    assert "accuracy_yes_no" in trained.out
    assert "question only" in trained.out
    made = {path.name for path in workdir.iterdir()}
    pictures = {"curves.png", "answers.png", "example.png"}
    assert made == {"config.json", "checkpoints", "metrics.jsonl", "tensorboard"} | pictures
    lines = (workdir / "metrics.jsonl").read_text()

    assert main(["train", *flags, f"--workdir={workdir}"]) == 0
    again = capsys.readouterr()
    assert "already trained to step 3" in again.err
    assert (workdir / "metrics.jsonl").read_text() == lines

    assert main(["evaluate", f"--workdir={workdir}", "--json"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    metrics = json.loads(last)
    # Six questions, three of them yes; of the other three, asked in the same words, the best answer gets one right.
    assert metrics["accuracy_blind"] == pytest.approx(4 / 6)
    assert metrics["accuracy_blind_color"] == pytest.approx(1 / 3)
    shown = dict(line.split()[:2] for line in table if line.startswith("accuracy"))
    assert float(shown["accuracy"]) == pytest.approx(100 * metrics["accuracy"], abs=0.06)
    assert trained.out.startswith("\n".join(table))

    image = workdir / "example.png"
    with Image.open(image) as shown, Image.open(folder / "images" / "red.png") as first:
        np.testing.assert_array_equal(shown, first)
    question = "--question=which color is it"
    assert main(["predict", f"--workdir={workdir}", f"--image={image}", question, "--top=2", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["text"] in ("yes", "red", "green", "blue")
    assert 1 >= first["probability"] >= second["probability"] >= 0


def test_a_run_from_other_weights_keeps_their_tokenizer_and_may_have_shorter_texts(folder, flags, tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["train", *flags, f"--workdir={first}"]) == 0
    text = (folder / "train.jsonl").read_text()
    (folder / "train.jsonl").write_text(text.replace('"answer": "red"', '"answer": "crimson"'))
    shorter = ["--config.data.caption_length=12", "--config.data.question_length=10"]
    again = ["train", *flags, *shorter, f"--workdir={second}", f"--init_from={first}"]
    assert main(again) == 0
    assert f"starting from the parameters of {first}" in capsys.readouterr().err
    old, new = (load_meta(path)["vocabulary"] for path in (first, second))
    assert new["tokenizer_json"] == old["tokenizer_json"]
    assert "crimson" in new["answers"]
    assert "crimson" not in old["answers"]
    (first / "checkpoints").rename(tmp_path / "gone")  # what it started from is not needed again
    assert main(again) == 0
    assert "already trained to step 3" in capsys.readouterr().err
