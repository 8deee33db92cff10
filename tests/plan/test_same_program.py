"""The program that is planned is the program that trains: after the compiler, the same text."""

import json
import re
from collections.abc import Callable

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from vlfusion_jax.cli.training import open_splits, prepare
from vlfusion_jax.data.global_array import local_rows, to_global
from vlfusion_jax.data.pipeline import train_batches
from vlfusion_jax.data.tokenizer import train_tokenizer
from vlfusion_jax.plan import candidate
from vlfusion_jax.plan.candidate import Candidate, compile_step

ANSWERS = [f"color {number}" for number in range(10)]  # of ten people, as a plan assumes


@pytest.fixture(scope="module")
def own_data(tmp_path_factory, small_config) -> Callable[..., ConfigDict]:
    """Function (changes) -> a run on four images of one's own, with its tokenizer."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "images").mkdir()
    lines = []
    for number in range(4):
        pixels = np.random.default_rng(number).integers(256, size=(20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        lines.append({"image": f"{number}.png", "caption": f"it is color {number}"})
        lines.append({"image": f"{number}.png", "question": "which color is it", "answer": ANSWERS})
    for split in ("train", "test"):
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    train_tokenizer([line["caption"] for line in lines if "caption" in line], 100).save(str(folder / "tokenizer.json"))

    def make(**changes) -> ConfigDict:
        paths = {"data__path": str(folder), "data__tokenizer": str(folder / "tokenizer.json")}
        return small_config(data__source="jsonl", **paths, **changes)

    return make


def planned(config: ConfigDict, strategy: str) -> str:
    """As `vlfusion plan` compiles it: from shapes, without data."""
    run = candidate.prepare(config, Candidate(strategy, "here", answers=len(ANSWERS)), jax.devices())
    return computation(compile_step(run)[0])


def trained(config: ConfigDict, strategy: str, workdir) -> str:
    """As `vlfusion train` compiles it: from a state, and a batch read from files."""
    config.sharding = strategy
    splits = open_splits(config.data)
    run = prepare(config, splits, workdir)
    rows = local_rows(run.batch_sharding, config.train.batch_size)
    batch = to_global(next(train_batches(config, splits.training, run.vocabulary, rows=rows)), run.batch_sharding)
    return computation(run.train_step.lower(run.init_state(), batch).compile())


def computation(compiled: jax.stages.Compiled) -> str:
    """The text of a program without notes of which lines of Python it comes from."""
    text = re.sub(r', metadata=\{(?:[^{}"]|"(?:[^"\\]|\\.)*"|\{[^{}]*\})*\}', "", compiled.as_text())
    return text[text.index("\n%") if "\n%" in text else text.index("\nENTRY") :]


@pytest.mark.parametrize(
    ("family", "strategy"),
    [
        *(("single_stream", strategy) for strategy in ("dp", "fsdp", "fsdp_tp:2")),
        ("two_stream", "fsdp"),
        *(pytest.param("two_stream", strategy, marks=pytest.mark.slow) for strategy in ("dp", "fsdp_tp:2")),
    ],
)
def test_the_same_text(own_data, family, strategy, tmp_path):
    trains = trained(own_data(model__family=family), strategy, tmp_path)
    plans = planned(own_data(model__family=family), strategy)
    assert plans.count("\n") > 1000
    assert len(jax.devices()) == 8
    assert ("all-gather" in plans) == (strategy != "dp")
    assert plans == trains


def test_a_setting_shows(own_data):
    texts = {planned(own_data(**{key: value}), "dp") for key, value in [("optim__b2", 0.98), ("optim__b2", 0.97)]}
    assert len(texts) == 2
