"""`vlfusion train` with patches hidden, and what is trained so taken on by a run that hides none."""

import json

import pytest

from vlfusion_jax.cli.main import main


def flags(folder, family):
    config = folder / "config.py"
    config.write_text(
        "from vlfusion_jax.config.schema import default_config\n"
        "from vlfusion_jax.models.families.table import hyperparameters\n"
        "def get_config(arg=''):\n"
        "    config = default_config()\n"
        f"    config.model = hyperparameters({family!r}, 'tiny')\n"
        "    config.data.source, config.data.image_size = 'jsonl', (16, 24)\n"
        "    config.data.question_length = config.data.caption_length = 10\n"
        "    config.train.batch_size = config.eval.batch_size = 8\n"
        "    config.train.log_every, config.optim.warmup_steps, config.train.steps = 1, 1, 3\n"
        "    config.tasks.mrm.weight, config.tasks.mrm.rate = 1.0, 0.4\n"
        "    return config\n"
    )
    return [f"--config={config}", f"--config.data.path={folder}"]


@pytest.mark.parametrize(
    ("family", "target"), [("uniter", "feature"), pytest.param("vilt", "class", marks=pytest.mark.slow)]
)
def test_train_and_go_on(folder, family, target, tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    common = flags(folder, family)
    assert main(["train", *common, f"--config.tasks.mrm.target={target}", f"--workdir={first}"]) == 0
    lines = [json.loads(line) for line in (first / "metrics.jsonl").read_text().splitlines()]
    logged = [line["mrm_loss"] for line in lines if "mrm_loss" in line]
    assert len(logged) >= 3
    assert all(loss > 0 for loss in logged)
    assert "mrm_loss" in capsys.readouterr().out
    assert main(["train", *common, "--config.tasks.mrm.weight=0", f"--workdir={second}", f"--init_from={first}"]) == 0
    assert "starting from the parameters of" in capsys.readouterr().err


def test_a_model_without_patches_is_refused_before_work_starts(folder, tmp_path, capsys):
    conv = ["--config.model.image_tokens=conv", f"--workdir={tmp_path / 'run'}"]
    assert main(["train", *flags(folder, "single_stream"), *conv]) != 0
    assert "reads it through 'conv': choose patches by model.image_tokens" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
