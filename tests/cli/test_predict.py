"""`vlfusion predict` for many pictures, for official servers, and with a look into the model."""

import json

import numpy as np
import pytest
from PIL import Image

from vlfusion_jax.cli.main import main
from vlfusion_jax.data.records import EncodedImage, Question, Record
from vlfusion_jax.evals.official_files import write_captions


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A tiny run on three coloured pictures."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    rows = []
    for number, color in enumerate(("red", "green", "blue")):
        pixels = np.zeros((20, 30, 3), np.uint8)
        pixels[..., number] = 255
        Image.fromarray(pixels).save(folder / "images" / f"{color}.png")
        rows += [{"image": f"{color}.png", "caption": f"it is {color}", "question": "which color", "answer": color}]
    for name in ("train", "test"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = ["data.source=jsonl", f"data.path={folder}", "optim.warmup_steps=1", "train.steps=1"]
    flags = [f"--config.{change}" for change in changes]
    run = folder / "run"
    assert main(["train", "--config=configs/tiny.py", *flags, f"--workdir={run}"]) == 0
    return run


def test_a_batch_answers_every_line_or_names_it(workdir, tmp_path, capsys):
    images, out = workdir.parent / "images", tmp_path / "out.jsonl"
    items = images / "items.jsonl"
    rows = [
        {"image": "red.png", "question": "which color"},
        {"image": "green.png", "texts": ["it is green", "it is red"]},
    ]
    items.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["predict", f"--workdir={workdir}", f"--batch={items}", f"--out={out}", "--top=1"]
    assert main(command) == 0
    assert f"2 of 2 lines are predicted in {out}" in capsys.readouterr().out
    first, second = map(json.loads, out.read_text().splitlines())
    assert (
        main(["predict", f"--workdir={workdir}", f"--image={images / 'red.png'}", "--question=which color", "--json"])
        == 0
    )
    best = json.loads(capsys.readouterr().out)[0]
    assert first["answer"] == best["text"]
    assert first["probability"] == pytest.approx(best["probability"], rel=1e-4)
    assert (
        main(["predict", f"--workdir={workdir}", f"--image={images / 'green.png'}", "--text=it is red", "--json"]) == 0
    )
    assert second["scores"][1] == pytest.approx(json.loads(capsys.readouterr().out)["match"], rel=1e-4)

    items.write_text(items.read_text() + '{"image": "gone.png", "question": "why"}\n' * 11)
    assert main(command) == 2
    said = capsys.readouterr()
    assert f"2 of 13 lines are predicted in {out}" in said.out
    assert "11 lines are not predicted:\n  line 3: image file" in said.err
    assert "and 1 more" in said.err
    assert [json.loads(line)["line"] for line in out.read_text().splitlines()] == list(range(1, 14))
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


@pytest.mark.parametrize("words", ["--question=which color is it?", "--text=it is red"])
def test_a_picture_of_the_words_is_drawn(workdir, tmp_path, words):
    image, out = workdir.parent / "images" / "red.png", tmp_path / "maps.png"
    assert main(["predict", f"--workdir={workdir}", f"--image={image}", words, f"--explain={out}"]) == 0
    with Image.open(out) as file:
        assert file.format == "PNG"
        assert min(file.size) > 200


def test_a_split_becomes_a_file_for_the_server(workdir, tmp_path, monkeypatch, capsys):
    class Split(list):
        images_per_record = 1

        def text_of(self, index):
            return self[index].captions, self[index].questions

    data = (workdir.parent / "images" / "blue.png").read_bytes()
    shown = (EncodedImage(data, "blue.png"),)
    source = Split(Record(shown, (), (Question("which color", (), id=str(40 - i)),)) for i in range(3))
    out = tmp_path / "answers.json"
    command = ["predict", f"--workdir={workdir}", "--split=test", f"--out={out}", "--format=evalai"]
    assert main(command) == 2  # the run's own data have no ids
    assert "do not say the ids" in capsys.readouterr().err
    assert not out.exists()
    monkeypatch.setattr("vlfusion_jax.cli.predict.open_source", lambda data, split: source)
    assert main(command) == 0
    rows = json.loads(out.read_text())
    assert [row["question_id"] for row in rows] == [40, 39, 38]
    assert len({row["answer"] for row in rows} & {"red", "green", "blue"}) == 1


def test_captions_have_the_ids_of_coco(tmp_path):
    named = [("val2014/COCO_val2014_000000391895.jpg", "a dog"), ("images.tar:000123.png", "café"), ("b2.png", "")]
    write_captions(tmp_path / "c.json", named)
    assert json.loads((tmp_path / "c.json").read_text()) == [
        {"image_id": 391895, "caption": "a dog"},
        {"image_id": 123, "caption": "café"},
        {"image_id": "b2", "caption": ""},
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "predict needs --workdir and one of --image, --batch, --split"),
        (["--image=a.png", "--batch=b.jsonl"], "one of --image, --batch, --split"),
        (["--image=a.png", "--out=b.jsonl"], "--out does not go with --image"),
        (["--batch=b.jsonl", "--question=what"], "--question does not go with --batch"),
        (["--batch=b.jsonl"], "--out is missing"),
        (["--split=test", "--out=b.json"], "--format is missing; there is evalai"),
        (["--image=a.png", "--question=what", "--text=that"], "give --question or --text, not both"),
        (["--image=a.png", "--explain=a.png"], "--explain needs --question or --text"),
        (["--image=a.png", "--question=what", "--explain=a.pdf"], "give a name that ends in .png"),
        (["--image=a.png", "--question=what", "--explain=nowhere/a.png"], "whose folder does not exist"),
        (["--batch=nowhere.jsonl", "--out=a.jsonl"], "nowhere.jsonl: cannot be read"),
    ],
)
def test_flags_that_do_not_go_together_are_named_before_anything_is_read(flags, message, capsys):
    assert main(["predict", "--workdir=nowhere", *flags]) == 2
    assert message in capsys.readouterr().err
