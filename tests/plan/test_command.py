"""`vlfusion plan` where compilers end in whatever way; a script stands for the process that compiles."""

import json
import sys

import pytest

from vlfusion_jax.cli import plan
from vlfusion_jax.cli.arguments import named_config
from vlfusion_jax.cli.main import main

WORDS = ["plan", "--config=configs/pretrain/vilt_b32.py", "--topology=v5e:4x4", "--strategies=dp,fsdp"]


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Function (code): what processes do in place of compiling; `out` and `job` are at hand."""

    def use(code: str) -> list[str]:
        script = tmp_path / "compiler"
        begin = "import json, sys, time; out, job = sys.argv[-1], json.load(sys.stdin)"
        script.write_text(f"#!{sys.executable}\n{begin}\n{code}\n")
        script.chmod(0o755)
        monkeypatch.setattr(plan.sys, "executable", str(script))
        return [*WORDS, f"--out={tmp_path / 'plan'}"]

    return use


def test_a_crash_and_a_reason_are_rows(compiler, capsys, tmp_path):
    words = compiler(
        "if job['candidate']['strategy'] == 'dp': sys.exit('out of luck')\n"
        "json.dump({'estimate': None, 'compile_seconds': 1.0, 'problem': 'does not divide'}, open(out, 'w'))"
    )
    assert main(words) == 2
    printed, error = capsys.readouterr()
    assert "dp: its compiler ended with status 1: out of luck" in printed
    assert "fsdp: does not divide" in printed
    assert "no candidate compiled" in error
    assert len(json.loads((tmp_path / "plan" / "plan.json").read_text())) == 2
    assert not (tmp_path / "plan" / "plan.png").exists()


def test_the_time_limit(compiler, monkeypatch):
    compiler("time.sleep(60)")
    row = plan.compile_apart(named_config(WORDS[1].partition("=")[2]), plan.Candidate("dp", "v5e:4x4"), 1.0)
    assert row.problem == "not compiled after 0 minutes"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (WORDS[:2], "--topology is missing"),
        (["plan", WORDS[2]], "--config is missing"),
        ([*WORDS, "--batch_per_device=-8"], "batch_per_device"),
        ([*WORDS[:2], "--topology=v9:4x4"], "no such machine"),
    ],
)
def test_mistakes(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err
