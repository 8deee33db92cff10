"""vlfusion retrieve on a split and on one's own files, against the model in Python."""

import json
from functools import cache

import numpy as np
import pytest

from tests.serve.conftest import matching_model, words  # noqa: F401 (fixtures)
from vlfusion_jax.cli.main import main
from vlfusion_jax.core import names
from vlfusion_jax.serve.model import load
from vlfusion_jax.train.checkpoint import Checkpointer
from vlfusion_jax.train.meta import describe_model

COLORS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def workdir(matching_model, words, tmp_path_factory):  # noqa: F811
    """Function family -> a work directory with a random model of it."""

    @cache
    def make(family, heads=(names.CONTRASTIVE, names.ITM)):
        path, model = tmp_path_factory.mktemp(family), matching_model(family, heads)
        checkpoints = Checkpointer(path, model.config.checkpoint)
        checkpoints.save(0, {"params": model.params}, describe_model(model.config, words))
        checkpoints.close()
        return path

    return make


def run(capsys, *arguments):
    status = main(["retrieve", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


def test_recall_on_a_split(capsys, workdir, folder, tmp_path):
    path = workdir("albef")
    data = ["--config.data.source=jsonl", f"--config.data.path={folder}", f"--workdir={path}", "--shortlist=2"]
    status, out, err = run(capsys, *data, "--exact", f"--out={tmp_path / 'found'}", "--top=2", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert (found["images"], found["texts"]) == (3, 3)
    model = load(path)
    pictures = [folder / "images" / f"{color}.png" for color in COLORS]
    texts = [f"it is {color}" for color in COLORS]
    vectors = model.embed(pictures, texts)
    scores = {
        "similarity": vectors[names.IMAGE] @ vectors[names.TEXT].T,
        "exact": np.array([model.score(picture, texts) for picture in pictures]),
    }
    for name, matrix in scores.items():
        best_image, best_text = matrix.argmax(0), matrix.argmax(1)
        assert found[name]["text_to_image_r1"] == pytest.approx(np.mean(best_image == range(3)))
        assert found[name]["image_to_text_r1"] == pytest.approx(np.mean(best_text == range(3)))
        assert found[name]["image_to_text_r5"] == 1.0
    assert (found["similarity"]["pairs"], found["exact"]["pairs"]) == (0, 9)
    assert 6 <= found["re-ranked"]["pairs"] <= 9
    assert all(found[name]["seconds"] > 0 for name in ("similarity", "re-ranked", "exact"))

    assert {file.name for file in (tmp_path / "found").iterdir()} == {"text_to_image.jsonl", "image_to_text.jsonl"}
    rows = [json.loads(line) for line in (tmp_path / "found" / "text_to_image.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == texts
    assert [row["image"].rpartition("/")[2] for row in rows] == [picture.name for picture in pictures]
    order = np.argsort(-scores["exact"], axis=0)
    shown = [[each["image"].rpartition("/")[2] for each in row["found"]] for row in rows]
    assert shown == [[pictures[i].name for i in order[:2, t]] for t in range(3)]
    rows = [json.loads(line) for line in (tmp_path / "found" / "image_to_text.jsonl").read_text().splitlines()]
    assert [row["texts"] for row in rows] == [[text] for text in texts]
    odds = [each["score"] for row in rows for each in row["found"]]
    assert 1 / (1 + np.exp(-np.array(odds))) == pytest.approx(-np.sort(-scores["exact"], axis=1)[:, :2].ravel(), 1e-4)

    status, out, _ = run(capsys, *data, "--exact")
    lines = out.splitlines()
    assert status == 0
    assert lines[0] == "3 images, 3 texts"
    assert lines[2].split() == ["R@1", "R@5", "R@10", "R@1", "R@5", "R@10", "pairs", "seconds"]
    assert [line.split()[0] for line in lines[3:]] == ["similarity", "re-ranked", "exact"]
    assert float(lines[5].split()[1]) == pytest.approx(100 * found["exact"]["text_to_image_r1"], abs=0.06)


def test_own_files(capsys, workdir, folder, tmp_path):
    path = workdir("albef")
    texts = tmp_path / "texts.txt"
    texts.write_text("a red cat\n\ntwo dogs\n")
    model = load(path)
    red = folder / "images" / "red.png"
    status, out, _ = run(capsys, f"--workdir={path}", f"--image={red}", f"--texts={texts}", "--json")
    expected = model.retrieve(red, texts=["a red cat", "two dogs"])
    assert status == 0
    assert json.loads(out) == [
        {"text": ("a red cat", "two dogs")[each.number], "score": pytest.approx(each.score)} for each in expected
    ]
    status, out, _ = run(capsys, f"--workdir={path}", "--text=two dogs", f"--images={folder}", "--top=2")
    files = sorted((folder / "images").iterdir())
    expected = model.retrieve("two dogs", pictures=files, top=2)
    assert status == 0
    assert out.splitlines() == [f"{each.score:8.4f}  {files[each.number]}" for each in expected]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--workdir is missing"),
        (["--workdir={run}", "--text=a"], "--text: give --text with --images to find images"),
        (["--workdir={run}", "--text=a", "--texts=b"], "--text and --texts: give --text with --images"),
        (["--workdir={run}", "--text=a", "--images={here}/nowhere"], "nowhere is no folder"),
        (["--workdir={run}", "--text=a", "--images={here}/empty"], "no image is in"),
        (["--workdir={run}", "--image=a", "--texts={here}/nowhere"], "nowhere cannot be read (No such file"),
        (["--workdir={run}", "--image=a", "--texts={here}/blank.txt"], "blank.txt has no text"),
        (["--workdir={run}", "--image={here}/blank.txt", "--texts={here}/text.txt"], "blank.txt' cannot be decoded"),
        (["--workdir={run}", "--text=a", "--images=b", "--exact"], "--exact is for splits"),
        (["--workdir={run}", "--text=a", "--images={here}", "more"], "unexpected argument 'more'"),
        (["--workdir={run}", "--config.data.source=jsonl", "--config.data.path={here}"], "has no split 'test'"),
        (["--workdir={here}"], "no check"),
    ],
)
def test_mistakes(capsys, workdir, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.txt").write_text(" \n")
    (tmp_path / "text.txt").write_text("a cat\n")
    path = workdir("albef") if any("{run}" in word for word in arguments) else ""
    status, out, err = run(capsys, *(word.format(run=path, here=tmp_path) for word in arguments))
    assert (status, out) == (2, "")
    assert message in err


def test_a_model_of_pairs_alone_has_no_shortlist(capsys, workdir, folder):
    data = ["--config.data.source=jsonl", f"--config.data.path={folder}", f"--workdir={workdir('vilt', ('itm',))}"]
    status, out, err = run(capsys, *data, "--shortlist=2")
    assert (status, out) == (2, "")
    assert "no similarity of images and texts to shortlist by" in err
    status, out, _ = run(capsys, *data)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[3:]] == ["exact"]
