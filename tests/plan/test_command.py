"""`vlfusion plan` where compilers end in whatever way; a script stands for the process that compiles."""

import itertools
import json
import sys

import pytest

from vlfusion_jax.cli.arguments import named_config
from vlfusion_jax.cli.main import main
from vlfusion_jax.plan import apart
from vlfusion_jax.plan.candidate import Candidate

WORDS = ["plan", "--config=configs/pretrain/vilt_b32.py", "--topology=v5e:4x4", "--strategies=dp,fsdp"]


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Function (code): what processes do in place of compiling; `out` and `job` are at hand."""

    def use(code: str) -> list[str]:
        script = tmp_path / "compiler"
        begin = "import json, sys, time; out, job = sys.argv[-1], json.load(sys.stdin)"
        script.write_text(f"#!{sys.executable}\n{begin}\n{code}\n")
        script.chmod(0o755)
        monkeypatch.setattr(apart.sys, "executable", str(script))
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


def test_the_time_limit(compiler, tmp_path):
    compiler("time.sleep(60)")
    config = named_config(WORDS[1].partition("=")[2])
    row = apart.compile_apart(config, Candidate("dp", "v5e:4x4"), 1.0, tmp_path)
    assert row.problem == "not compiled after 0 minutes"


# As much memory as the batch, of which eight images fit; the larger it is, the faster.
GROWING = """
images = job["candidate"]["batch_per_device"] or 256
share = images / 8
result = {"estimate": None, "compile_seconds": 1.0, "problem": "does not fit: too large", "share": share}
if share <= 1:
    sizes = dict.fromkeys(["argument_bytes", "temporary_bytes", "memory_bytes"], 2 * images)
    rates = dict.fromkeys(["model_flops", "program_flops", "compute_seconds", "cycle_seconds", "roofline_seconds"], 1.0)
    rates |= {"exposed_seconds": 0.0, "step_seconds": 1.0, "examples_per_second": images, "mfu": 0.5}
    others = {"capacity_bytes": 16.0, "compute_by": "cycles", "unpriced": [], "traffic": [], "least_bytes": 1.0}
    result |= {"estimate": sizes | rates | others, "problem": ""}
json.dump(result, open(out, "w"))
"""


def test_the_largest_batch_is_found(compiler, capsys):
    words = compiler(GROWING)
    assert main([*words, "--config.train.batch_size=1024"]) == 2
    assert "fsdp: 8 images a device fit" in capsys.readouterr().out
    assert main([*words, "--batch_per_device=8"]) == 0
    assert "images a device" not in capsys.readouterr().out


def test_a_search(compiler, capsys, tmp_path):
    assert main([*compiler(GROWING), "--search", "--batch_per_device=2", "--most=20"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("dp batch=8 model.remat=")
    names = {row["candidate"]["strategy"] for row in json.loads((tmp_path / "plan" / "plan.json").read_text())}
    assert names == {"dp", "fsdp"}


def test_settings_are_compared_each_with_each(compiler, capsys, tmp_path):
    words = ["--strategies=dp", "--remat=none,dots", "--micro_batches=1,2", "--scan_layers=true,false"]
    assert main([*compiler(GROWING), *words, "--batch_per_device=2"]) == 0
    rows = json.loads((tmp_path / "plan" / "plan.json").read_text())
    found = {tuple(row["candidate"]["changes"].items()) for row in rows}
    keys = ("model.remat", "train.micro_batches", "model.scan_layers")
    assert found == {
        tuple(zip(keys, each, strict=True)) for each in itertools.product(("none", "dots"), (1, 2), (True, False))
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*WORDS, "--micro_batches=2,x"], "--micro_batches: 'x' is not a number"),
        ([*WORDS, "--scan_layers=maybe"], "--scan_layers: 'maybe' is neither true nor false"),
        (WORDS[:2], "--topology is missing"),
        (["plan", WORDS[2]], "--config is missing"),
        ([*WORDS, "--batch_per_device=-8"], "batch_per_device"),
        ([*WORDS[:2], "--topology=v9:4x4"], "no such machine"),
    ],
)
def test_mistakes(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err
