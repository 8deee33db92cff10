"""`vlfusion train` with a momentum encoder, the fused loss and drawn tasks: trained, resumed, begun from, refused."""

import numpy as np
import pytest

from vlfusion_jax.cli.main import main
from vlfusion_jax.train import loop
from vlfusion_jax.train.metrics import read_metrics

CONFIG = '''"""A tiny ALBEF; `arg` is a family to put in its place."""
from vlfusion_jax.config.schema import default_config
from vlfusion_jax.models.families.table import hyperparameters


def get_config(arg=""):
    config = default_config()
    config.model = hyperparameters(arg or "albef", "tiny")
    if not arg:
        config.model.update(
            {{"width": 16, "mlp_width": 24, "image_width": 16, "image_mlp_width": 24, "fusion_layers": 1,
              "image_layers": 1, "decoder_layers": 1, "text_positions": 12}}
        )
    config.data.source, config.data.path = "jsonl", {folder!r}
    config.data.image_size, config.data.caption_length = (16, 16), 8
    config.tasks.vqa.weight = 0.0
    config.tasks.itc.weight, config.tasks.mlm.weight, config.tasks.caption.weight = 1.0, 1.0, 0.5
    config.tasks.caption.prompt = "a picture of"
    config.optim.warmup_steps, config.optim.schedule = 0, "constant"
    config.train.batch_size = config.eval.batch_size = 8
    config.train.steps, config.train.log_every, config.checkpoint.every = 6, 1, 3
    return config
'''


@pytest.fixture
def config(folder, tmp_path):
    path = tmp_path / "config.py"
    path.write_text(CONFIG.format(folder=str(folder)))
    return str(path)


def losses(workdir):
    """{step: {name: loss}} of training."""
    return {
        line["step"]: {name: value for name, value in line.items() if name.endswith("_loss")}
        for line in read_metrics(workdir)
        if "loss" in line
    }


MOMENTUM = ["--config.tasks.itc.momentum=0.9", "--config.tasks.itc.queue=16", "--config.tasks.itc.soft_steps=4"]


def test_momentum(config, tmp_path, capsys):
    assert main(["train", f"--config={config}", *MOMENTUM, f"--workdir={tmp_path / 'first'}"]) == 0
    shown = capsys.readouterr()
    for metric in ("itc_loss", "itc_accuracy", "caption_loss", "caption_accuracy", "mlm_loss"):
        assert metric in shown.out
    found = losses(tmp_path / "first")
    assert set(found) == {1, 2, 3, 4, 5, 6}
    assert all(np.isfinite(value) for line in found.values() for value in line.values())
    assert set(found[1]) == {"itc_loss", "mlm_loss", "caption_loss"}


@pytest.mark.slow
def test_momentum_and_uncertainty_from_other_weights(config, tmp_path, capsys):
    """A run that starts from the parameters of one with a momentum encoder, and weights its tasks besides."""
    arguments = ["train", f"--config={config}", *MOMENTUM]
    assert main([*arguments, f"--workdir={tmp_path / 'first'}"]) == 0
    found = losses(tmp_path / "first")
    capsys.readouterr()
    more = [f"--config.init_from={tmp_path / 'first'}", "--config.tasks.combine=uncertainty", "--config.train.steps=2"]
    assert main([*arguments, *more, f"--workdir={tmp_path / 'second'}"]) == 0
    assert "starting from the parameters of" in capsys.readouterr().err
    assert losses(tmp_path / "second")[1]["caption_loss"] < found[1]["caption_loss"]


@pytest.mark.parametrize("loss", ["cosine", pytest.param("mse", marks=pytest.mark.slow)])
def test_fused_loss(config, folder, tmp_path, capsys, loss):
    """α·context + β·caption: both fall, the fused vector comes to lie along the one given for the caption."""
    for split in ("train", "test"):
        np.save(folder / f"{split}.vectors.npy", np.random.default_rng(1).normal(size=(9, 5)).astype(np.float16))
    alpha, beta = 2.0, 0.5
    arguments = [
        f"--config={config}", "--config.tasks.itc.weight=0", "--config.tasks.mlm.weight=0",
        f"--config.tasks.context.weight={alpha}", "--config.tasks.context.width=5",
        f"--config.tasks.context.loss={loss}", f"--config.tasks.caption.weight={beta}", "--config.optim.lr=1e-2",
        "--config.train.steps=25",
    ]  # fmt: skip
    assert main(["data", "check", *arguments]) == 0
    assert "vectors     of 3 captions" in capsys.readouterr().out
    assert main(["train", *arguments, f"--workdir={tmp_path / 'run'}"]) == 0
    assert "context_cosine" in capsys.readouterr().out
    lines = [line for line in read_metrics(tmp_path / "run") if "loss" in line]
    for line in lines:
        fused = alpha * line["context_loss"] + beta * line["caption_loss"]
        np.testing.assert_allclose(line["loss"], fused, rtol=1e-5)
    first, last = lines[0], lines[-1]
    assert last["context_loss"] < 0.3 * first["context_loss"]
    assert last["caption_loss"] < 0.8 * first["caption_loss"]
    assert last["context_cosine"] > 0.8 > 0.5 > first["context_cosine"]

    (folder / "test.vectors.npy").unlink()
    assert main(["train", *arguments, f"--workdir={tmp_path / 'other'}"]) == 2
    assert "test.vectors.npy', which does not exist" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_drawn_tasks_are_those_of_a_run_that_was_not_interrupted(config, tmp_path, capsys, monkeypatch):
    arguments = ["train", f"--config={config}", "--config.tasks.combine=sample", "--config.tasks.caption.weight=0"]
    assert main([*arguments, f"--workdir={tmp_path / 'whole'}"]) == 0
    expected = losses(tmp_path / "whole")
    assert all(len(line) == 1 for line in expected.values())
    assert len({name for line in expected.values() for name in line}) > 1

    batches, to_global = iter(range(1, 7)), loop.to_global

    def fails(*arguments):
        if next(batches) == 5:
            raise OSError("the disk is gone")
        return to_global(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "to_global", fails)
        assert main([*arguments, f"--workdir={tmp_path / 'cut'}"]) == 2
    assert "saved after step 4" in capsys.readouterr().err
    assert max(losses(tmp_path / "cut")) == 4
    assert main([*arguments, f"--workdir={tmp_path / 'cut'}"]) == 0
    assert "resuming after step 4" in capsys.readouterr().err
    assert losses(tmp_path / "cut") == expected


@pytest.mark.parametrize(
    ("family", "more", "message"),
    [
        ("vilt", [], "tasks.itc reads head 'contrastive', which this model does not have"),
        (
            "clip",
            ["--config.tasks.mlm.weight=0"],
            "tasks.caption reads head 'caption' (albef's with model.decoder_layers",
        ),
        ("bert", MOMENTUM, "tasks.itc reads head 'contrastive'"),
    ],
)
def test_a_model_that_cannot_is_refused(config, tmp_path, capsys, family, more, message):
    workdir = tmp_path / "run"
    assert main(["train", f"--config={config}:{family}", *more, f"--workdir={workdir}"]) == 2
    assert message in capsys.readouterr().err
    assert not workdir.exists()
