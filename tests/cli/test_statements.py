"""Statements through the command: pairs of images, from weights that know no pairs, and classes of single images."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from vlfusion_jax.cli import evaluate
from vlfusion_jax.cli.main import main
from vlfusion_jax.data.source import open_source
from vlfusion_jax.train.converted import read_parameters

SMALL = [
    "--config.model.width=16", "--config.model.heads=2", "--config.model.layers=1", "--config.model.mlp_width=16",
    "--config.model.patch_size=8", "--config.model.grid=(2,2)", "--config.precision.compute=float32",
    "--config.data.source=jsonl", "--config.data.eval_split=test",
    "--config.data.image_size=(16,16)", "--config.data.resize=fit", "--config.data.randaugment=",
    "--config.data.vocab_size=64", "--config.data.question_length=8", "--config.data.caption_length=8",
    "--config.optim.warmup_steps=1", "--config.train.steps=2", "--config.train.micro_batches=2",
    "--config.train.batch_size=16", "--config.train.eval_every=0", "--config.eval.batch_size=8",
]  # fmt: skip


def write(folder, rows, images):
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in images:
        Image.fromarray(rng.integers(256, size=(20, 30, 3), dtype=np.uint8)).save(folder / "images" / name)
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def pairs(tmp_path):
    rows = [
        {
            "image": [f"{n}.png", f"{n + 1}.png"],
            "statement": ("one is red", "both are wide")[n % 2],
            "label": n % 3 == 0,
        }
        for n in range(9)
    ]
    return write(tmp_path / "pairs", rows, [f"{n}.png" for n in range(10)])


def identified(data, split):
    """The split as NLVR2 would have it: a sentence, on several pairs of one set of images."""
    source = open_source(data, split)
    sentences = list(dict.fromkeys(source.texts()))
    source._texts = [
        (captions, tuple(replace(q, id=f"test-0-{pair}-{sentences.index(q.text)}") for q in questions))
        for pair, (captions, questions) in enumerate(source._texts)
    ]
    return source


def test_pairs_from_weights_of_single_images(pairs, tmp_path, capsys, monkeypatch):
    captions = [{"image": f"{n}.png", "caption": f"picture {n} is red or wide"} for n in range(4)]
    single = write(tmp_path / "single", captions, [f"{n}.png" for n in range(4)])
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    tasks = ["--config.tasks.vqa.weight=0.0", "--config.tasks.mlm.weight=1.0"]
    settings = [f"--config.data.path={single}", *SMALL, *tasks, "--config.model.modalities=2"]
    assert main(["train", "--config=configs/finetune.py", *settings, f"--workdir={first}"]) == 0
    capsys.readouterr()

    command = ["train", "--config=configs/finetune_tasks/nlvr2.py", f"--config.data.path={pairs}", *SMALL]
    command.append("--config.optim.lr=1e-12")  # what a run begins with is what it ends with
    assert main([*command, f"--workdir={second}", f"--init_from={first}"]) == 0
    trained = capsys.readouterr().out
    before, after = (read_parameters(path)[0] for path in (first, second))
    np.testing.assert_allclose(after["modality/table"], before["modality/table"][[0, 1, 1]], atol=1e-9)
    assert after["head_nlvr/expand/kernel"].shape == (32, 32)
    assert "consistency" in trained
    assert "question only" in trained
    assert (tmp_path / "second" / "confusion.png").stat().st_size > 1000

    assert main(["evaluate", f"--workdir={second}", "--json"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    metrics = json.loads(last)
    assert {"accuracy", "consistency", "nlvr_loss", "accuracy_blind"} == metrics.keys()
    counts = {line.split()[0]: int(line.split()[-1]) for line in table if line.startswith(("true", "false"))}
    assert counts == {"true": 3, "false": 6}
    # Both statements are true of some pairs and false of others; only luck judges them right everywhere.
    assert metrics["consistency"] <= metrics["accuracy"]
    assert metrics["accuracy_blind"] == pytest.approx(6 / 9)
    assert trained.startswith("\n".join(table)), "the same, from the checkpoint"

    judging = ["evaluate", f"--workdir={second}", f"--judgements={tmp_path / 'judgements.csv'}"]
    assert main(judging) == 2
    assert "do not say the identifiers of their statements" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "open_source", identified)
        assert main(judging) == 0
    rows = [json.loads(line) for line in (pairs / "test.jsonl").read_text().splitlines()]
    annotations = [{"identifier": f"test-0-{n}-{n % 2}", "label": str(row["label"])} for n, row in enumerate(rows)]
    (tmp_path / "annotations.json").write_text("\n".join(map(json.dumps, annotations)))
    files = [f"--results={tmp_path / 'judgements.csv'}", f"--annotations={tmp_path / 'annotations.json'}"]
    capsys.readouterr()
    assert main(["score", "nlvr", *files, "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored == pytest.approx({name: metrics[name] for name in ("accuracy", "consistency")})

    assert (
        main(["data", "check", "--config=configs/finetune_tasks/nlvr2.py", *SMALL, f"--config.data.path={pairs}"]) == 0
    )
    assert "9 pairs, height×width 20×30" in capsys.readouterr().out


def test_entailment(tmp_path, capsys):
    labels = ("entailment", "neutral", "contradiction")
    rows = [{"image": f"{n % 4}.png", "hypothesis": f"it is {n}", "label": labels[n % 3]} for n in range(10)]
    folder = write(tmp_path / "ve", rows, [f"{n}.png" for n in range(4)])
    small = [each for each in SMALL if "model.layers" not in each and "grid" not in each]
    small += [
        "--config.model.text_layers=1", "--config.model.fusion_layers=1", "--config.model.image_layers=1",
        "--config.model.image_width=16", "--config.model.image_heads=2", "--config.model.image_mlp_width=16",
        "--config.tasks.vqa.hidden=16",
    ]  # fmt: skip
    fields = [f"--config.data.path={folder}", "--config.data.fields.statement=hypothesis"]
    command = ["train", "--config=configs/finetune_tasks/snli_ve.py", *fields, *small]
    assert main([*command, f"--workdir={tmp_path / 'run'}"]) == 0
    out = capsys.readouterr().out
    counts = {line.split()[0]: int(line.split()[-1]) for line in out.splitlines() if line.startswith(labels)}
    assert counts == {"entailment": 4, "neutral": 3, "contradiction": 3}
    assert "consistency" not in out
    assert main(["evaluate", f"--workdir={tmp_path / 'run'}", "--judgements=x.csv"]) == 2
    assert "this run has no task nlvr" in capsys.readouterr().err
    assert (tmp_path / "run" / "confusion.png").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--config.model.modalities=2", "model.modalities is 2; with tasks.nlvr it must be 3"),
        ("--config.tasks.vqa.weight=1.0", "set tasks.vqa.weight to 0"),
        ("--config.train.batch_size=8", "train.batch_size=8 does not divide by 16"),
        ("--config.data.fields.statement=text", "line 1 has no field 'text'"),
        ("--config.data.source=sort_of_clevr:16,8", "task nlvr reads pairs of images"),
    ],
)
def test_faults(pairs, tmp_path, capsys, monkeypatch, change, message):
    monkeypatch.setenv("VLFUSION_CACHE", str(tmp_path / "cache"))
    command = ["train", "--config=configs/finetune_tasks/nlvr2.py", *SMALL, f"--workdir={tmp_path / 'run'}"]
    path = [] if "clevr" in change else [f"--config.data.path={pairs}"]
    assert main([*command, *path, change]) == 2
    assert message in capsys.readouterr().err


def test_labels_that_are_written_are_no_classes(tmp_path, capsys):
    """No report by class of a model that writes its answers; the rest of the evaluation is there."""
    rows = [{"image": f"{n % 4}.png", "statement": f"it is {n}", "label": ("yes", "no")[n % 2]} for n in range(8)]
    folder = write(tmp_path / "written", rows, [f"{n}.png" for n in range(4)])
    small = [each for each in SMALL if "model.layers" not in each and "grid" not in each]
    small += [
        "--config.model.text_layers=1", "--config.model.fusion_layers=1", "--config.model.image_layers=1",
        "--config.model.image_width=16", "--config.model.image_heads=2", "--config.model.image_mlp_width=16",
        "--config.model.decoder_layers=1", "--config.model.decoder_reads=question",
        "--config.tasks.vqa.weight=0.0", "--config.tasks.answer.weight=1.0", "--config.checkpoint.best_metric=",
    ]  # fmt: skip
    command = ["train", "--config=configs/finetune_tasks/snli_ve.py", f"--config.data.path={folder}", *small]
    assert main([*command, f"--workdir={tmp_path / 'run'}"]) == 0
    out = capsys.readouterr().out
    assert "answer_accuracy" in out
    assert "curves are drawn" in out
    assert not (tmp_path / "run" / "confusion.png").exists()

    long = [row | {"label": "yes and " * 5 + row["label"]} for row in rows]
    command[2] = f"--config.data.path={write(tmp_path / 'long', long, [f'{n}.png' for n in range(4)])}"
    assert (
        main(
            [
                *command,
                "--config.model.text_positions=8",
                "--config.data.answer_length=8",
                f"--workdir={tmp_path / 'refused'}",
            ]
        )
        == 2
    )
    assert "this model has room for 8" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()
