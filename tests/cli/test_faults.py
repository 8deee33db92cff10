"""A fault of data, config or work directory ends in one message; nothing trained is lost, nothing else is touched."""

import contextlib
import io
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from vlfusion_jax.cli import evaluate
from vlfusion_jax.cli.main import main
from vlfusion_jax.config.load import load_config
from vlfusion_jax.config.overrides import apply_overrides
from vlfusion_jax.data.pipeline import train_batches
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.vocabulary import build_vocabulary
from vlfusion_jax.train.checkpoint import load_meta

TRAIN, TEST = range(24), range(24, 28)


def image_file(folder, number):
    return folder / "images" / f"{number}.png"


def write_images(folder, numbers):
    for number in numbers:  # the red of an image is its number
        Image.new("RGB", (30, 20), (number, 0, 0)).save(image_file(folder, number))


def write_data(folder):
    (folder / "images").mkdir(parents=True)
    for split, numbers in (("train", TRAIN), ("test", TEST)):
        write_images(folder, numbers)
        rows = [
            {"image": f"{n}.png", "caption": f"of {n}", "question": "is it even?", "answer": ("yes", "no")[n % 2]}
            for n in numbers
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def overrides(folder):
    return [
        "--config.data.source=jsonl", f"--config.data.path={folder}", "--config.optim.warmup_steps=1",
        "--config.train.steps=3",
    ]  # fmt: skip


def train(folder, workdir, *arguments):
    return call("train", "--config=configs/tiny.py", *overrides(folder), f"--workdir={workdir}", *arguments)


def call(*arguments):
    """Exit status, stdout and stderr of `vlfusion ARGUMENTS`."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(list(arguments))
    return SimpleNamespace(status=status, out=out.getvalue(), err=err.getvalue())


def message(done):
    """The one message that the command ended with."""
    assert done.status == 2
    assert done.out == ""
    assert done.err.count("vlfusion: ") == 1
    return done.err.splitlines()[-1].removeprefix("vlfusion: ")


def content(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def image_of_second_batch(folder):
    config, _ = apply_overrides(load_config("configs/tiny.py"), overrides(folder))
    source = open_source(config.data, "train")
    with contextlib.closing(train_batches(config, source, build_vocabulary([source], config.data))) as batches:
        first, second = (set(next(batches)["image"][:, 0, 0, 0].tolist()) for _ in range(2))
    return min(second - first)


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A run that met a damaged training image, then a damaged test image; each was repaired, the command repeated."""
    folder = tmp_path_factory.mktemp("faults")
    data, workdir = folder / "data", folder / "run"
    write_data(data)
    bad, bad_test = image_of_second_batch(data), TEST[2]
    runs, steps = [], []
    for number in (bad, bad_test):
        image_file(data, number).write_bytes(b"\x89PNG not really")
    for repaired in ([], [bad], [bad_test]):
        write_images(data, repaired)
        runs.append(train(data, workdir))
        steps.append(load_meta(workdir)["step"])
    return SimpleNamespace(data=data, workdir=workdir, images=(bad, bad_test), runs=runs, steps=steps)


def test_a_damaged_image_met_while_training_loses_no_step(story):
    assert f"/images/{story.images[0]}.png' cannot be decoded" in message(story.runs[0])
    assert story.steps[0] == 1
    assert "saved after step 1; the same command goes on from here" in story.runs[0].err


def test_a_damaged_image_met_while_evaluating_loses_no_step(story):
    assert "resuming after step 1" in story.runs[1].err
    assert f"/images/{story.images[1]}.png' cannot be decoded" in message(story.runs[1])
    assert story.steps[1] == 3


def test_after_the_repair_the_same_command_ends(story):
    assert story.runs[2].status == 0
    assert "already trained to step 3" in story.runs[2].err
    assert "accuracy" in story.runs[2].out
    lines = map(json.loads, (story.workdir / "metrics.jsonl").read_text().splitlines())
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3]


def reorder(folder):
    first, second, third, *rest = (folder / "train.jsonl").read_text().splitlines(keepends=True)
    (folder / "train.jsonl").write_text("".join([third, second, first, *rest]))


def edit(folder, old, new):
    text = (folder / "train.jsonl").read_text()
    assert old in text
    (folder / "train.jsonl").write_text(text.replace(old, new))


FAULTS = {
    "bad key": (None, ["--config.optim.lrr=1"], "unknown config key 'optim.lrr'. Did you mean 'optim.lr'?"),
    "bad metric": (
        None, ["--config.checkpoint.best_metric=acuracy"],
        "checkpoint.best_metric is 'acuracy'; the evaluation has accuracy, itm_accuracy, itm_loss, mlm_accuracy, "
        "mlm_loss, vqa_loss. Did you mean 'accuracy'?",
    ),
    "missing image": (lambda data: image_file(data, 5).unlink(), [], "train.jsonl line 6: image '5.png' is in no"),
    "empty data": (lambda data: (data / "train.jsonl").write_text(""), [], "has no record in split 'train'"),
    "empty test data": (lambda data: (data / "test.jsonl").write_text("\n"), [], "has no record in split 'test'"),
    "no captions": (
        lambda data: edit(data, '"caption"', '"title"'), [],
        "captions are needed by mlm and itm, but split 'train' has none",
    ),
    "no question": (
        lambda data: edit(data, '"question"', '"query"'), [], "task vqa finds no question in split 'train'",
    ),
}  # fmt: skip

OF_A_TRAINED_RUN = {
    "another config": (None, ["--config.optim.lr=0.5"], "belongs to a run of another config; different: optim.lr"),
    "another vocabulary": (
        lambda data: edit(data, '"yes"', '"perhaps"'), [],
        "number 1 of its answers is 'yes' there and 'perhaps' here",
    ),
    "other data": (reorder, [], "the training data has changed since checkpoint 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS | OF_A_TRAINED_RUN)
def test_a_fault_leaves_the_work_directory_as_it_was(story, tmp_path, name):
    spoil, arguments, expected = (FAULTS | OF_A_TRAINED_RUN)[name]
    data = shutil.copytree(story.data, tmp_path / "data")
    if spoil:
        spoil(data)
    before = content(story.workdir)
    assert expected in message(train(data, story.workdir, *arguments))
    assert content(story.workdir) == before


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_makes_no_work_directory(story, tmp_path, name):
    spoil, arguments, expected = FAULTS[name]
    data = shutil.copytree(story.data, tmp_path / "data")
    if spoil:
        spoil(data)
    assert expected in message(train(data, tmp_path / "run", *arguments))
    assert not (tmp_path / "run").exists()


def test_a_test_split_without_text_for_the_tasks_is_found_before_training(story, tmp_path):
    data = shutil.copytree(story.data, tmp_path / "data")
    (data / "test.jsonl").write_text('{"image": "24.png", "caption": "of 24"}\n')
    only_questions = ["--config.tasks.mlm.weight=0", "--config.tasks.itm.weight=0"]
    assert "split 'test' has no text to evaluate" in message(train(data, tmp_path / "run", *only_questions))
    assert not (tmp_path / "run").exists()
    check = call("data", "check", "--config=configs/tiny.py", *overrides(data), *only_questions)
    assert (check.status, check.err[:46]) == (2, "vlfusion: split 'test' has no text to evaluate")
    assert "\ntest\n  images      1, " in check.out


def test_prediction_names_the_image(story, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    for name, expected in (("none.png", "cannot be read (No such file"), ("bad.png", "cannot be decoded")):
        done = call("predict", f"--workdir={story.workdir}", f"--image={tmp_path / name}", "--question=is it even?")
        assert name in message(done)
        assert expected in message(done)


def test_evaluation_goes_without_the_training_split(story, tmp_path):
    data = shutil.copytree(story.data, tmp_path / "data")
    arguments = ["evaluate", f"--workdir={story.workdir}", f"--config.data.path={data}"]
    whole = call(*arguments)
    assert (whole.status, whole.err) == (0, "")
    assert "question only" in whole.out
    (data / "train.jsonl").unlink()
    less = call(*arguments)
    assert less.status == 0
    assert "question only" not in less.out
    assert less.err.startswith("without the training split the table lacks what the question alone allows: ")
    assert less.err.count("\n") == 1
    assert [line.split()[:2] for line in less.out.splitlines()[2:]] == [
        line.split()[:2] for line in whole.out.splitlines()[2:]
    ]


def test_a_run_without_questions_needs_no_training_split(story, tmp_path, capsys):
    config, _ = apply_overrides(load_config("configs/tiny.py"), overrides(story.data))
    test = open_source(config.data, "test")
    config.data.path, config.tasks.vqa.weight = str(tmp_path), 0.0
    assert evaluate.question_only(config, test) == {}
    assert capsys.readouterr().err == ""


def test_an_evaluation_that_fails_lets_go_of_its_batches(monkeypatch):
    closed = []

    def failing(*arguments):
        raise ValueError("of a batch")

    monkeypatch.setattr(evaluate, "local_rows", lambda *arguments: np.arange(8))
    monkeypatch.setattr(evaluate, "eval_batches", lambda *a, **k: SimpleNamespace(close=lambda: closed.append(True)))
    monkeypatch.setattr(evaluate, "evaluate", failing)
    job = SimpleNamespace(config=load_config("configs/tiny.py"), vocabulary=None, batch_sharding=None)
    with pytest.raises(ValueError, match="of a batch"):
        evaluate.evaluator(job, None)({})
    assert closed == [True]
