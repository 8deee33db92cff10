"""`vlfusion bench` on the devices that are here."""

import json

import pytest

from vlfusion_jax.cli.main import main

SMALL = [f"--config.{key}" for key in ("model.width=16", "model.mlp_width=16", "tasks.mlm.weight=0",
                                       "tasks.itm.weight=0", "data.vocab_size=64")]  # fmt: skip


def test_measured_beside_predicted(tmp_path, capsys):
    words = ["bench", "--config=configs/tiny.py", *SMALL, "--answers=9", "--strategies=dp,fsdp_tp:3", "--rounds=2"]
    assert main([*words, "--profile", f"--out={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("tiny on 8 x cpu, float32\n")
    assert "fsdp_tp:3: not measured: sharding 'fsdp_tp:3': mesh" in printed
    assert "8 devices on these cores: a product of 1024 x 1024 in float32 ran at" in printed
    assert "operation" in printed.partition("dp, an update:")[2]
    stored = json.loads((tmp_path / "bench.json").read_text())
    [row] = stored["rows"]
    assert row["candidate"] == "dp"
    assert row["seconds"]["low"] <= row["seconds"]["median"] <= row["seconds"]["high"]
    assert row["examples_per_second"] == pytest.approx(8 / row["seconds"]["median"])
    assert row["error"] == pytest.approx(row["prediction"]["seconds"] / row["seconds"]["median"] - 1)
    assert (row["mfu"], row["memory_source"]) == (None, "program")
    assert row["memory_bytes"] > 10_000
    assert list(stored["not_measured"]) == ["fsdp_tp:3"]
    assert (stored["devices"], stored["rates"]["devices"]) == (8, 8)
    assert (tmp_path / "bench.png").stat().st_size > 1000
    assert list((tmp_path / "trace").rglob("*.xplane.pb"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "what is to be measured?"),
        (["--config=configs/tiny.py", "--layers=3"], "--layers belongs to --against=torch; it has no effect here"),
        (["--against=torch", "--strategies=dp"], "belongs to --config; it has no effect here"),
        (["--config=configs/tiny.py", "--against=torch"], "give one of them"),
        (["--config=configs/tiny.py", "--plan=gone.json"], "gone.json"),
        (["--config=configs/tiny.py", "--strategies=fsdp_tp:3"], "no candidate ran"),
    ],
)
def test_mistakes(words, message, capsys, tmp_path):
    assert main(["bench", f"--out={tmp_path}", *words]) == 2
    assert message in capsys.readouterr().err
