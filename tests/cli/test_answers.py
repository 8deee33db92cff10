"""`vlfusion train` where answers are written: it learns, goes on where it was cut, is evaluated, and answers."""

import json

import numpy as np
import pytest
from PIL import Image

from vlfusion_jax.cli.main import main
from vlfusion_jax.train import loop
from vlfusion_jax.train.metrics import read_metrics

CONFIG = '''"""A tiny model of family `arg` that writes the answers of Sort-of-CLEVR."""
from vlfusion_jax.config.schema import default_config
from vlfusion_jax.models.families.table import hyperparameters

ALBEF = {{"decoder_layers": 1, "decoder_reads": "question", "patch_size": 25}}
BLIP = {{"variant": "vqa", "text_layers": 1, "image_layers": 1, "patch_size": 25, "begin_id": 2, "end_id": 3}}


def get_config(arg=""):
    config = default_config()
    config.model = hyperparameters(arg, "tiny", **(ALBEF if arg == "albef" else BLIP))
    config.data.source, config.data.path = "sort_of_clevr:16,4", {folder!r}
    config.data.questions_per_image, config.data.answer_length = 4, 4
    config.tasks.vqa.weight, config.tasks.answer.weight = 0.0, 1.0
    config.tasks.answer.smoothing = 0.0
    config.optim.lr, config.optim.warmup_steps, config.optim.schedule = 1e-2, 5, "constant"
    config.train.batch_size = config.eval.batch_size = 8
    config.train.steps, config.train.log_every, config.train.eval_every = 36, 1, 36
    config.checkpoint.best_metric = "answer_accuracy"
    config.checkpoint.every = 36
    return config
'''


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(CONFIG.format(folder=str(tmp_path / "data")))
    return str(path)


@pytest.mark.parametrize("family", ["albef", pytest.param("blip", marks=pytest.mark.slow)])
def test_train_resume_evaluate_predict(config, family, tmp_path, capsys, monkeypatch):
    workdir, batches, to_global = tmp_path / "run", iter(range(36)), loop.to_global
    command = ["train", f"--config={config}:{family}", f"--workdir={workdir}"]

    def fails(*arguments):
        if next(batches) == 20:
            raise OSError("the disk is gone")
        return to_global(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "to_global", fails)
        assert main(command) == 2
    assert "saved after step 20" in capsys.readouterr().err
    assert main(command) == 0
    trained = capsys.readouterr()
    assert "resuming after step 20" in trained.err
    *lines, evaluation = [line for line in read_metrics(workdir) if "answer_loss" in line or "eval/answer_loss" in line]
    losses = [line["answer_loss"] for line in lines]
    assert len(losses) == 36
    assert np.mean(losses[-5:]) < 0.4 * np.mean(losses[:3])
    assert np.mean([line["answer_token_accuracy"] for line in lines[-5:]]) > 0.5

    assert main(["evaluate", f"--workdir={workdir}", "--json"]) == 0
    *table, last = capsys.readouterr().out.splitlines()
    metrics = json.loads(last)
    assert metrics["answer_accuracy"] == pytest.approx(evaluation["eval/answer_accuracy"])
    assert 0 < metrics["answer_accuracy"] < 1
    halves = [metrics[f"answer_accuracy_{kind}"] for kind in ("relational", "non_relational")]
    assert np.mean(halves) == pytest.approx(metrics["answer_accuracy"])
    [shown] = [line.split() for line in table if line.startswith("answer_accuracy ")]
    assert shown[1::2] == [f"{100 * metrics[name]:.1f}" for name in ("answer_accuracy", "accuracy_blind")]

    image = tmp_path / "grey.png"
    Image.new("RGB", (75, 75), "grey").save(image)
    question = "--question=what shape is the red object?"
    assert main(["predict", f"--workdir={workdir}", f"--image={image}", question, "--json"]) == 0
    [answer] = json.loads(capsys.readouterr().out)
    assert answer["text"]
    assert 0 < answer["probability"] < 1
