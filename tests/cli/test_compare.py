"""`vlfusion compare`: runs of one budget side by side, also after an interruption; mistakes found before any."""

import json
import signal
from dataclasses import replace

import pytest
from PIL import Image

from vlfusion_jax.cli import compare
from vlfusion_jax.cli.main import main
from vlfusion_jax.cli.training import train_prepared
from vlfusion_jax.config.load import load_config, split_arg
from vlfusion_jax.config.resume import write_config
from vlfusion_jax.models.families.baselines import NAMES
from vlfusion_jax.models.families.table import model_spec
from vlfusion_jax.models.parameters import part_parameters
from vlfusion_jax.train.metrics import read_metrics

TWO = "configs/tiny.py:single_stream,configs/tiny.py:cross_attention"
FEW = ["--config.data.source=jsonl", "--config.tasks.mlm.weight=0", "--config.tasks.itm.weight=0", "--steps=3"]
FEW += ["--config.optim.warmup_steps=1"]


def mistake(capsys, *arguments):
    """The one message that `vlfusion compare ARGUMENTS` ends with."""
    assert main(["compare", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def cells(table):
    return {row[1]: row[2:-1] for row in ([cell.strip() for cell in line.split("|")] for line in table)}


def test_two_configs_side_by_side_and_again(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VLFUSION_DATA", str(folder.parent))
    out = tmp_path / "out"
    command = ["compare", f"--configs={TWO}", f"--data={folder.name}", f"--out={out}", *FEW, "--reach=0.5"]

    def interrupted(job, splits, workdir):
        def step(state, batch):
            signal.raise_signal(signal.SIGINT)
            return job.train_step(state, batch)

        return train_prepared(replace(job, train_step=step), splits, workdir)

    with monkeypatch.context() as patch:
        patch.setattr(compare, "train_prepared", interrupted)
        with pytest.raises(SystemExit, match="75"):
            main(command)
    stopped = capsys.readouterr()
    assert "stopped by a signal after step 1 of 3" in stopped.err
    assert stopped.out == ""
    assert {path.name for path in out.iterdir()} == {"single_stream"}

    assert main(command) == 0
    done = capsys.readouterr()
    assert "resuming after step 1" in done.err
    assert "[2/2] cross_attention" in done.err
    made = {"single_stream", "cross_attention", "comparison.md", "comparison.png"}
    assert {path.name for path in out.iterdir()} == made
    with Image.open(out / "comparison.png") as plot:
        assert min(plot.size) > 400

    text = (out / "comparison.md").read_text()
    head, _, *rows = text.split("\n\n")[0].splitlines()
    assert done.out.startswith(head)
    assert [cell.strip() for cell in head.split("|")[2:4]] == ["accuracy", "parameters"]
    table = cells(rows)
    assert set(table) == {"single_stream", "cross_attention", "question only"}
    assert table["question only"][0] == "66.7 %"  # four of six, see test_run.py
    for name in ("single_stream", "cross_attention"):
        accuracy, parameters, flops, speed, seconds, reached = table[name]
        lines = read_metrics(out / name)
        assert accuracy == f"{100 * lines[-1]['eval/accuracy']:.1f} %"
        assert lines[-1]["step"] == 3
        assert reached == ("3" if lines[-1]["eval/accuracy"] >= 0.5 else "never")
        assert seconds == f"{lines[-2]['time/clock']:.0f}"
        assert int(parameters.replace(",", "")) > 10_000
        assert float(flops) > 0
        assert float(speed.replace(",", "")) > 0
    assert f"vlfusion compare --configs={TWO} --data={folder.name}" in text
    assert "3 steps of 8 images with 2 questions each" in text

    before = {name: (out / name / "metrics.jsonl").read_bytes() for name in ("single_stream", "cross_attention")}
    assert main(command) == 0
    assert capsys.readouterr().err.count("already trained to step 3: nothing left to do") == 2
    assert (out / "comparison.md").read_text() == text
    assert all((out / name / "metrics.jsonl").read_bytes() == lines for name, lines in before.items())


def test_the_default_compares_all_baselines_and_kinds_with_one_budget_and_size(folder, tmp_path):
    kinds = {split_arg(source)[1] for source in compare.DEFAULT}
    assert kinds == {*NAMES, "single_stream", "two_stream", "cross_attention"}
    plan = compare._plan(compare.DEFAULT, [f"--config.data.path={folder}"], tmp_path)
    assert [planned.name for planned in plan] == [split_arg(source)[1] for source in compare.DEFAULT]
    specs = [model_spec(planned.config, num_tokens=100, num_answers=13) for planned in plan]
    parameters = [sum(part_parameters(spec, ("vqa",)).values()) for spec in specs]
    assert max(parameters) < 1.2 * min(parameters)
    assert not list(tmp_path.glob("*_fusion"))


def test_a_mistake_names_the_config_before_anything_is_trained(folder, tmp_path, capsys):
    out = tmp_path / "out"
    some = [f"--data={folder}", f"--out={out}", "--config.data.source=jsonl"]
    assert "configs/tiny.py:plane" in mistake(capsys, "--configs=configs/tiny.py,configs/tiny.py:plane", *some)
    assert "unknown config key 'optim.lrr'" in mistake(capsys, f"--configs={TWO}", *some, "--config.optim.lrr=1")
    assert "configs/tiny.py is there twice" in mistake(capsys, "--configs=configs/tiny.py,configs/tiny.py", *some)
    assert "--reach is 95; it is a share" in mistake(capsys, f"--configs={TWO}", *some, "--reach=95")
    assert "--steps is -1" in mistake(capsys, f"--configs={TWO}", *some, "--steps=-1")
    assert "--configs is empty" in mistake(capsys, "--configs=", *some)
    error = mistake(capsys, f"--configs={TWO}", *some, "--config.tasks.vqa.weight=0")
    assert "configs/tiny.py:single_stream: it answers no questions" in error
    error = mistake(capsys, "--configs=configs/tiny.py,configs/easy_vqa.py", *some)
    assert "configs/easy_vqa.py: not the budget of configs/tiny.py; different: " in error
    assert "train.steps (1500, there 20)" in error
    error = mistake(capsys, f"--configs={TWO}", *some, "--config.train.batch_size=7")
    assert "configs/tiny.py:single_stream: train.batch_size=7 does not divide by 8" in error
    assert not out.exists()


def test_data_is_a_folder_or_a_name_in_the_data_folder(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("VLFUSION_DATA", raising=False)
    assert "--data: 'easy' is not a folder; give one, or set $VLFUSION_DATA" in mistake(capsys, "--data=easy")
    monkeypatch.setenv("VLFUSION_DATA", str(tmp_path))
    assert f"'easy' nor '{tmp_path}/easy' is not a folder" in mistake(capsys, "--data=easy")
    (tmp_path / "easy").mkdir()
    assert compare.find_data("easy") == tmp_path / "easy"
    assert compare.find_data(str(folder)) == folder


def test_a_workdir_of_another_config_is_found_first(folder, tmp_path, capsys):
    out = tmp_path / "out"
    config = load_config("configs/tiny.py:cross_attention")
    config.optim.lr = 0.5
    write_config(out / "cross_attention", config)
    error = mistake(capsys, f"--configs={TWO}", f"--data={folder}", f"--out={out}", "--config.data.source=jsonl")
    assert error.startswith("vlfusion: configs/tiny.py:cross_attention: ")
    assert "optim.lr (there 0.5, now 0.003)" in error
    assert [path.name for path in out.iterdir()] == ["cross_attention"]
    assert json.loads((out / "cross_attention" / "config.json").read_text())["optim"]["lr"] == 0.5
