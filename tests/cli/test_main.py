"""The command line: help, and mistakes answered in one message with exit status 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vlfusion_jax.cli.main import COMMANDS, main
from vlfusion_jax.config.load import load_config
from vlfusion_jax.config.resume import write_config


def call(capsys, *arguments):
    """Exit status, stdout and stderr of `vlfusion ARGUMENTS`, in this process."""
    status = main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_the_commands(capsys, arguments):
    status, out, err = call(capsys, *arguments)
    assert status == 0
    assert err == ""
    assert "vlfusion train --config=configs/quickstart.py" in out
    assert all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_explains_itself(capsys, name):
    status, out, err = call(capsys, name, "--help")
    assert status == 0
    assert err == ""
    assert out.startswith(f"vlfusion {name} ")
    assert "Flags:\n  --" in out
    assert len(out.splitlines()) < 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "vlfusion: unknown command 'trian'. Did you mean 'train'?"),
        (["train"], "vlfusion: --config is missing. Shipped configs: "),
        (["train", "--confg=configs/tiny.py"], "vlfusion: unknown flag --confg. Did you mean 'config'?"),
        (["train", "--config=configs/tinny.py"], "vlfusion: config file 'configs/tinny.py' does not exist."),
        (
            ["train", "--config=configs/tiny.py", "--config.optim.lrr=1"],
            "vlfusion: unknown config key 'optim.lrr'. Did you mean 'optim.lr'?",
        ),
        (
            ["train", "--config=configs/tiny.py", "--config.train.steps=x"],
            "vlfusion: config key 'train.steps' is of type int, such as 20; got 'x'.",
        ),
        (
            ["train", "--config=configs/tiny.py", "--config.model.heads=5"],
            "vlfusion: model.width 32 does not divide by model.heads 5.",
        ),
        (["train", "--config=configs/tiny.py", "word"], "vlfusion: unexpected argument 'word'"),
        (["train", "--config=configs/tiny.py", "--devices=many"], "vlfusion: flag --devices=many:"),
        (["train", "--config=configs/easy_vqa.py"], "vlfusion: data.path is empty"),
        (["data"], "vlfusion: data: no action given."),
        (["data", "chek"], "vlfusion: data: unknown action 'chek'. Did you mean 'check'?"),
        (["data", "check"], "vlfusion: --config is missing."),
        (["evaluate"], "vlfusion: --workdir is missing"),
        (["evaluate", "--workdir=nowhere"], "vlfusion: {here}/nowhere: no checkpoint here; expected a work directory"),
        (["predict", "--workdir=nowhere"], "vlfusion: predict needs --workdir and one of --image, --batch, --split"),
        (["predict", "--workdir=nowhere", "--image=x.png", "--question=what"], "vlfusion: {here}/nowhere: no check"),
    ],
)
def test_a_mistake_ends_in_one_message(capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, out, err = call(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert err.startswith(message.format(here=tmp_path))
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_workdir_of_another_config_is_left_alone(capsys, tmp_path):
    write_config(tmp_path, load_config("configs/tiny.py"))
    before = (tmp_path / "config.json").read_bytes()
    status, _, err = call(capsys, "train", "--config=configs/tiny.py", f"--workdir={tmp_path}", "--config.optim.lr=0.5")
    assert status == 2
    assert "optim.lr (there 0.003, now 0.5)" in err
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert (tmp_path / "config.json").read_bytes() == before


def test_a_workdir_that_is_a_file_is_found_before_there_is_data(capsys, tmp_path):
    (tmp_path / "file").touch()
    data = f"--config.data.path={tmp_path / 'data'}"
    status, out, err = call(capsys, "train", "--config=configs/tiny.py", data, f"--workdir={tmp_path}/file/run")
    assert (status, out) == (2, "")
    place = f"work directory {tmp_path}/file/run: {tmp_path}/file"
    assert err == f"vlfusion: {place} is a file; choose another --workdir.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (OSError(28, "No space left on device", "run/file"), 2, "[Errno 28] No space left on device: 'run/file'"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_stops_a_command_from_outside_ends_in_one_message(capsys, monkeypatch, error, status, message):
    def stopped(values, arguments):
        raise error

    monkeypatch.setattr("vlfusion_jax.cli.data.run", stopped)
    assert call(capsys, "data", "check") == (status, "", f"vlfusion: {message}\n")


def test_as_a_program_there_is_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "vlfusion_jax.cli.main", "train", "--config=configs/tiny.py", "--config.lr=1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "vlfusion: unknown config key 'lr'. Did you mean 'optim.lr'?\n"
