"""A small Sort-of-CLEVR, a small JSONL set with pictures, and configs that read them."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.data.source import open_source

COLORS = ("red", "green", "blue", "black", "white")


@pytest.fixture(scope="session")
def clevr_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("sort_of_clevr")


@pytest.fixture
def clevr_config(clevr_folder) -> ConfigDict:
    """All three tasks on 40 + 21 Sort-of-CLEVR images, 8 images and 5 questions each a batch."""
    config = default_config()
    config.data.source = "sort_of_clevr:40,21"
    config.data.path = str(clevr_folder)
    config.data.questions_per_image = 5
    config.train.batch_size = 8
    config.eval.batch_size = 8
    for task in (names.MLM, names.ITM, names.VQA):
        config.tasks[task].weight = 1.0
    return config


@pytest.fixture
def clevr_train(clevr_config):
    return open_source(clevr_config.data, "train")


@pytest.fixture
def clevr_test(clevr_config):
    return open_source(clevr_config.data, "test")


@pytest.fixture
def png() -> Callable[[int, int, int], bytes]:
    """Function (height, width, seed) -> PNG bytes of random pixels."""

    def make(height: int, width: int, seed: int = 0) -> bytes:
        buffer = io.BytesIO()
        pixels = np.random.default_rng(seed).integers(256, size=(height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, format="PNG")
        return buffer.getvalue()

    return make


@pytest.fixture
def write_jsonl() -> Callable[..., Path]:
    """Function (folder, rows, images, split='train', tar=False) -> folder, written as a JSONL data set."""

    def write(folder: Path, rows: list, images: dict[str, bytes], split: str = "train", tar: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (folder / f"{split}.jsonl").write_text("".join(line + "\n" for line in lines))
        if tar:
            with tarfile.open(folder / "images_all.tar", "w") as file:
                for name, data in images.items():
                    member = tarfile.TarInfo(f"./{name}")
                    member.size = len(data)
                    file.addfile(member, io.BytesIO(data))
        else:
            for name, data in images.items():
                (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / "images" / name).write_bytes(data)
        return folder

    return write


@pytest.fixture
def jsonl_config() -> Callable[[Path], ConfigDict]:
    """Function folder -> config with all three tasks on the JSONL set there, 4 images and 2 questions each a batch."""

    def make(folder: Path) -> ConfigDict:
        config = default_config()
        config.data.source = "jsonl"
        config.data.path = str(folder)
        config.data.eval_split = "train"
        config.data.image_size = (8, 8)
        config.data.questions_per_image = 2
        config.train.batch_size = 4
        config.eval.batch_size = 4
        for task in (names.MLM, names.ITM, names.VQA):
            config.tasks[task].weight = 1.0
        return config

    return make


@pytest.fixture
def toy_folder(tmp_path, write_jsonl, png) -> Path:
    """Five images: number n has n questions, numbers 0, 2, 4 a caption; the rows of one image are not neighbours."""
    rows = [{"image": f"{n}.png", "caption": f"a {COLORS[n]} thing"} for n in (0, 2, 4)]
    rows += [
        {
            "image": f"{n}.png",
            "question": f"question {q} about {COLORS[n]} ?",
            "answer": ("yes", "no")[q % 2],
            "kind": "k",
        }
        for q in range(4)
        for n in range(q + 1, 5)
    ]
    return write_jsonl(tmp_path / "toy", rows, {f"{n}.png": png(8, 8, n) for n in range(5)})
