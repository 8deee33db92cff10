"""Models that read regions, from the shell: a converted LXMERT is fine-tuned, UNITER trained to tell hidden regions."""

import json

import numpy as np
import pytest
import transformers

import vlfusion_jax
from tests.parity.conftest import randomise
from vlfusion_jax.cli.main import main
from vlfusion_jax.core import names
from vlfusion_jax.data.tokenizer import train_tokenizer

COLORS, FEATURES, HEIGHT, WIDTH = ("red", "green", "blue"), 6, 40, 60
QUESTIONS = ("which color is it", "is it there")
SETTINGS = {
    "train.batch_size": 8, "eval.batch_size": 8, "train.micro_batches": 1, "train.log_every": 1, "train.eval_every": 0,
    "optim.warmup_steps": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve images, of which there are one to four regions each, and no pixels."""
    folder, rng = tmp_path_factory.mktemp("own"), np.random.default_rng(0)
    (folder / "regions").mkdir()
    rows, vectors = [], 2 * np.eye(FEATURES)[: len(COLORS)]
    for number in range(12):
        color, count = number % len(COLORS), 1 + number % 4
        corners = np.sort(rng.random((count, 2, 2)), axis=1).reshape(count, 4) * [WIDTH, HEIGHT, WIDTH, HEIGHT]
        np.savez(
            folder / "regions" / f"{number}.npz", features=vectors[[color] * count].astype(np.float16),
            boxes=corners.astype(np.float32), size=(HEIGHT, WIDTH), labels=np.full(count, color),
            classes=np.eye(len(COLORS))[[color] * count],
        )  # fmt: skip
        rows.append({"image": f"{number}.jpg", "caption": f"it is {COLORS[color]}"})
        rows.append({"image": f"{number}.jpg", "question": QUESTIONS[0], "answer": COLORS[color]})
        rows.append({"image": f"{number}.jpg", "question": QUESTIONS[1], "answer": "yes"})
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def flags(settings):
    return [f"--config.{key}={value}" for key, value in (SETTINGS | settings).items()]


@pytest.fixture(scope="module")
def lxmert(tmp_path_factory):
    """A converted LXMERT of random weights."""
    theirs = tmp_path_factory.mktemp("lxmert") / "theirs"
    config = transformers.LxmertConfig(
        vocab_size=80, hidden_size=16, num_attention_heads=2, intermediate_size=24, max_position_embeddings=16,
        l_layers=1, r_layers=1, x_layers=1, visual_feat_dim=FEATURES, num_qa_labels=3, num_object_labels=4,
        num_attr_labels=2,
    )  # fmt: skip
    model = transformers.LxmertForQuestionAnswering(config)
    randomise(model, 1)
    model.save_pretrained(theirs)
    train_tokenizer(QUESTIONS, 60).save(str(theirs / "tokenizer.json"))
    assert main(["convert", "--from=hf", str(theirs), f"--out={theirs.with_name('ours')}"]) == 0
    return theirs.with_name("ours")


def test_a_converted_model_is_fine_tuned_and_evaluated(lxmert, folder, tmp_path, capsys):
    """What the table says is what the model answers in Python, image by image, without padding."""
    run, settings = tmp_path / "run", {"data.path": folder, "train.steps": 60, "optim.lr": 2e-3}
    assert main(["train", f"--config=configs/finetune.py:{lxmert}", f"--workdir={run}", *flags(settings)]) == 0
    assert f"starting from the parameters of {lxmert}" in capsys.readouterr().err
    assert json.loads((run / "config.json").read_text())["data"]["regions"] == 36
    losses = [json.loads(line).get("vqa_loss") for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [loss for loss in losses if loss is not None]
    assert losses[-1] < 0.5 * losses[0]
    assert {each.name for each in run.glob("*.png")} == {"curves.png"}  # there are no pictures to draw
    assert main(["evaluate", f"--workdir={run}", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    model, right = vlfusion_jax.load(run), []
    for number in range(12):
        with np.load(folder / "regions" / f"{number}.npz") as file:
            boxes = file["boxes"] / [WIDTH, HEIGHT, WIDTH, HEIGHT]
            inputs = model.encode(texts=QUESTIONS, regions=file["features"][None], boxes=boxes[None])
        best = np.asarray(model(inputs).logits[names.VQA]).argmax(-1)
        answers = [model.vocabulary.answers[i] for i in best]
        right += [answers[0] == COLORS[number % len(COLORS)], answers[1] == "yes"]
    assert told["accuracy"] == pytest.approx(np.mean(right))
    assert told["accuracy"] > 0.7  # the question alone allows 2 in 3


def test_hidden_regions_are_told_beside_questions(folder, tmp_path, capsys):
    config, run = tmp_path / "config.py", tmp_path / "run"
    config.write_text(
        "from vlfusion_jax.config.schema import default_config\n"
        "from vlfusion_jax.models.families.table import hyperparameters\n"
        "def get_config(arg=''):\n"
        "    config = default_config()\n"
        f"    config.model = hyperparameters('uniter', 'tiny', region_patch=0, region_features={FEATURES})\n"
        "    config.data.source, config.data.regions = 'jsonl', 3\n"
        "    config.data.question_length = config.data.caption_length = 10\n"
        "    config.tasks.mrm.weight, config.tasks.mrm.rate = 1.0, 0.4\n"
        "    return config\n"
    )
    settings = flags({
        "data.path": folder, "train.steps": 3, "tasks.mrm.target": "class", "tasks.mrm.classes": 3,
        "tasks.itm.weight": 1.0,
    })  # fmt: skip
    assert main(["data", "check", f"--config={config}", *settings]) == 0
    assert "images      12, regions of at most 3: 3, 1, 2" in capsys.readouterr().out
    assert main(["train", f"--config={config}", f"--workdir={run}", *settings]) == 0
    assert main(["evaluate", f"--workdir={run}", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["mrm_loss"] > 0
    assert 0 <= told["accuracy"] <= 1
    assert 0 <= told["mrm_accuracy"] <= 1
    assert main(["retrieve", f"--workdir={run}", "--json"]) == 0  # by the matching head, from regions
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == 12
    words = [f"--workdir={run}", "--split=test", "--format=evalai", f"--out={tmp_path / 'none.json'}"]
    assert main(["predict", *words]) == 2
    assert "--split shows pictures, but this model reads the regions" in capsys.readouterr().err
    assert main(["train", f"--config={config}", f"--workdir={tmp_path / 'none'}", *settings, "--config.data.flip"]) == 2
    assert "data.flip is True; it changes pixels" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
