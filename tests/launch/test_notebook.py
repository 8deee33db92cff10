"""The notebook runs from its first cell to its last, from nothing and from a checkpoint; what it names exists."""

import ast
import importlib
import re
import shutil
from operator import attrgetter
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
import transformers
from absl import flags
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

import vlfusion_jax
from tests.processes import ROOT
from vlfusion_jax.cli.main import COMMANDS, main
from vlfusion_jax.config.load import shipped_configs
from vlfusion_jax.config.schema import default_config
from vlfusion_jax.data.tokenizer import train_tokenizer
from vlfusion_jax.train.metrics import read_metrics

NOTEBOOK = ROOT / "launch" / "colab" / "finetune.ipynb"
QUESTION = "what color is the circle?"
COLORS, SHAPES = ("red", "green", "blue", "yellow", "purple"), ("circle", "square", "triangle")
FEW = {"eval.batch_size": 8, "data.eval_limit": 16, "train.log_every": 1}
SMALL = {
    "model.width": 16, "model.heads": 2, "model.mlp_width": 32, "model.cross_layers": 1,
    "model.conv_channels": (8, 8, 8, 16),
}  # fmt: skip


def read() -> NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def python(notebook: NotebookNode) -> list[str]:
    """Its code cells, with IPython's own syntax as Python."""
    transform = TransformerManager().transform_cell
    return [transform(cell.source) for cell in notebook.cells if cell.cell_type == "code"]


def assigned(source: str) -> dict[str, Any]:
    """{name: value} of the assignments of a cell of settings."""
    return {line.targets[0].id: ast.literal_eval(line.value) for line in ast.parse(source).body}


def execute(folder: Path, **settings: Any) -> NotebookNode:
    """The notebook as run in `folder`, with other settings; raises where a cell fails."""
    notebook = read()
    [place] = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
    changed = assigned(notebook.cells[place].source)
    assert settings.keys() <= changed.keys()
    notebook.cells[place].source = "\n".join(f"{name} = {value!r}" for name, value in (changed | settings).items())
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def said(notebook: NotebookNode, cell: str) -> str:
    [found] = [each for each in notebook.cells if each.id == cell]
    return "".join(output.text for output in found.outputs if output.output_type == "stream")


def pictures_of(notebook: NotebookNode, cell: str) -> int:
    [found] = [each for each in notebook.cells if each.id == cell]
    return sum("image/png" in output.get("data", {}) for output in found.outputs)


def check_run(work: Path, notebook: NotebookNode) -> None:
    """The run of `work` has come to its end: curves, a model that answers, a zip that holds it."""
    assert "accuracy" in said(notebook, "train")
    losses = [line["loss"] for line in read_metrics(work / "run") if "loss" in line]
    assert len(losses) == 4
    assert np.isfinite(losses).all()
    for cell in ("look", "curves", "ask", "attend"):
        assert pictures_of(notebook, cell) == 1, cell
    for name in ("run/curves.png", "attention.png"):
        with Image.open(work / name) as drawn:
            assert min(drawn.size) > 100
    shutil.unpack_archive(work / "model.zip", work / "unpacked")
    picture = work / "data" / "images" / "test_0000.png"
    models = [vlfusion_jax.load(work / name) for name in ("run", "unpacked")]
    assert set(models[0].vocabulary.answers) == {*COLORS, *SHAPES, "yes", "no"}
    before, after = (model.answer(picture, QUESTION) for model in models)
    assert before == after


@pytest.fixture
def kernel(monkeypatch) -> None:
    """Settings of the notebook's process: this checkout, no network."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_from_nothing(tmp_path, kernel):
    notebook = execute(tmp_path, STEPS=4, BATCH=4, WORKDIR="mine", CHANGES=FEW | SMALL)
    check_run(tmp_path / "mine", notebook)
    assert pictures_of(notebook, "match") == 1
    assert said(notebook, "match").count("%") == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
    assert not (tmp_path / "mine" / "exported").exists()


def test_from_a_checkpoint_of_the_hub(tmp_path, kernel, monkeypatch):
    cached = tmp_path / "hub" / "models--someone--vilt"
    snapshot = cached / "snapshots" / ("0" * 40)
    tokenizer = train_tokenizer([QUESTION, "what shape is red?", "is it a square?"], 80)
    config = transformers.ViltConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, image_size=32, patch_size=8, max_position_embeddings=40,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.ViltForMaskedLM(config).save_pretrained(snapshot)
    tokenizer.save(str(snapshot / "tokenizer.json"))
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0" * 40)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))

    notebook = execute(tmp_path, CHECKPOINT="someone/vilt", STEPS=4, BATCH=8, WORKDIR="mine", CHANGES=FEW)
    work = tmp_path / "mine"
    assert "keys used" in said(notebook, "convert")
    check_run(work, notebook)
    model = transformers.ViltForQuestionAnswering.from_pretrained(work / "exported")
    assert model.config.id2label == dict(enumerate(vlfusion_jax.load(work / "run").vocabulary.answers))
    assert main(["convert", "--from=hf", str(work / "exported"), f"--out={tmp_path / 'again'}"]) == 0


def test_it_is_stored_without_outputs():
    notebook = read()
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
        assert cell.metadata.keys() <= {"tags"}
    assert notebook.metadata.keys() == {"accelerator", "kernelspec", "language_info"}


def test_cells_compile():
    for number, source in enumerate(python(read())):
        compile(source, f"code cell {number}", "exec")


def commands_of(notebook: NotebookNode) -> list[tuple[str, set[str]]]:
    """(command, flags) of every call of `vlfusion` in a cell, and of every command in the text."""
    called = [
        (node.args[0].value, " ".join(map(ast.unparse, node.args[1:])))
        for source in python(notebook)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "vlfusion"
    ]
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    written = re.findall(r"`vlfusion (\w+)([^`]*)`", text)
    return [(command, set(re.findall(r"--(\w+)=", words))) for command, words in called + written]


def test_commands_keys_and_files_that_it_names_exist():
    notebook = read()
    commands = commands_of(notebook)
    assert {command for command, _ in commands} >= {"convert", "data", "train"}
    for command, given in commands:
        assert command in COMMANDS
        values = flags.FlagValues()
        importlib.import_module(f"vlfusion_jax.cli.{command}").define_flags(values)
        assert given <= set(values), command

    nodes = [node for source in python(notebook) for node in ast.walk(ast.parse(source))]
    keys = {key.value for node in nodes if isinstance(node, ast.Dict) for key in node.keys if "." in key.value}
    assert keys >= {"data.path", "train.steps"}
    for key in keys:
        attrgetter(key)(default_config())
    files = re.findall(r"configs/\w+\.py", "\n".join(cell.source for cell in notebook.cells))
    assert {"configs/finetune.py"} <= set(files) <= set(shipped_configs())
