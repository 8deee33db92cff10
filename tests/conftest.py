"""Eight simulated CPU devices, a compilation cache kept between runs, third-party data found or skipped, small runs."""

import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "vlfusion_jax" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
# Programs here run for a moment and take long to compile: LLVM need not optimise them, and the older of XLA's emitters,
# which jaxlib has up to 0.10, takes half the time.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    + " --xla_cpu_use_fusion_emitters=false" * (tuple(map(int, version("jaxlib").split(".")[:2])) < (0, 11)),
)

import jax

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.core.tree import path_name
from vlfusion_jax.data.pipeline import batch_shapes
from vlfusion_jax.models.families.table import hyperparameters

jax.config.update("jax_num_cpu_devices", 8)

DATA = Path(os.environ.get("VLFUSION_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data_folder() -> Callable[[str], Path]:
    """Function name -> folder of that third-party data set, which skips the test where it is missing."""

    def find(name: str) -> Path:
        folder = DATA / name
        if not folder.is_dir():
            pytest.skip(f"{folder} is missing; set VLFUSION_DATA to the folder that holds {name}")
        return folder

    return find


@pytest.fixture(scope="session")
def small_vocabulary() -> SimpleNamespace:
    """What model and tasks ask of a vocabulary."""
    return SimpleNamespace(size=60, answers=tuple("abcdefg"), kinds=("colour", "shape"), answers_per_question=2)


@pytest.fixture(scope="session")
def small_config() -> Callable[..., ConfigDict]:
    """Function (changes as `model__width=32`) -> a run of all tasks, 16 images with two questions each a batch."""

    def make(**changes) -> ConfigDict:
        config = default_config()
        config.model = hyperparameters(changes.pop("model__family", "single_stream"))
        settings = {
            "model.width": 16, "model.heads": 2, "model.mlp_width": 32, "model.layers": 2, "model.text_layers": 1,
            "model.image_layers": 1, "model.cross_layers": 1, "model.patch_size": 8, "model.conv_channels": (8, 8),
            "data.image_size": (16, 24), "data.question_length": 6, "data.caption_length": 10,
            "data.questions_per_image": 2, "tasks.mlm.weight": 1.0, "tasks.itm.weight": 0.5, "tasks.vqa.weight": 0.25,
            "tasks.mlm.rate": 0.3, "optim.warmup_steps": 5, "train.steps": 20, "train.batch_size": 16,
            "eval.batch_size": 16, "tasks.context.width": 7,
        }  # fmt: skip
        config.update_from_flattened_dict(settings | {key.replace("__", "."): value for key, value in changes.items()})
        return config

    return make


@pytest.fixture(scope="session")
def albef_config() -> Callable[..., ConfigDict]:
    """Function ({task: weight}, changes as `train__steps=3`) -> a run of a tiny ALBEF without dropout."""

    def make(weights: dict[str, float], **changes) -> ConfigDict:
        config = default_config()
        config.model = hyperparameters(
            "albef", "tiny", width=16, mlp_width=32, text_layers=1, fusion_layers=1, image_width=16, image_mlp_width=40,
            image_layers=1, patch_size=8, contrastive_width=8, text_positions=12,
            decoder_layers=int(bool({"caption", "answer"} & set(weights))),
            decoder_reads="question" if "answer" in weights else "image",
        )  # fmt: skip
        settings = {
            "data.image_size": (16, 24), "data.question_length": 6, "data.caption_length": 9, "tasks.mlm.rate": 0.3,
            "optim.warmup_steps": 0, "optim.schedule": "constant", "train.steps": 20, "train.batch_size": 8,
            "eval.batch_size": 8, "tasks.context.width": 7,
            **{f"tasks.{name}.weight": float(weights.get(name, 0)) for name in names.TASKS},
        }  # fmt: skip
        config.update_from_flattened_dict(settings | {key.replace("__", "."): value for key, value in changes.items()})
        return config

    return make


@pytest.fixture(scope="session")
def random_batch(small_vocabulary) -> Callable[[ConfigDict, int], dict[str, np.ndarray]]:
    """Function (config, seed) -> a training batch of random content, masks and weights, for `small_vocabulary`."""
    highest = {
        "text": small_vocabulary.size, "labels": small_vocabulary.size, "answer_ids": len(small_vocabulary.answers),
        "label": 2, "image": 256, "target": small_vocabulary.size, "record": 12, "region_labels": 3,
    }  # fmt: skip

    def make(config: ConfigDict, seed: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)

        def fill(name: str, shape: tuple[int, ...]) -> np.ndarray:
            if name in highest:
                return rng.integers(highest[name], size=shape)
            if name.endswith("_mask"):  # at least the first three tokens, pixel rows
                return (np.arange(shape[1]) < rng.integers(3, shape[1] + 1, (shape[0], 1))).reshape(
                    *shape[:2], *[1] * (len(shape) - 2)
                ) * np.ones(shape)
            if name == "hidden":  # or nothing
                return rng.integers(-1, 3, shape)
            if name == "positions":
                return rng.integers(3, size=shape)
            if name == "kind":
                return rng.integers(-1, len(small_vocabulary.kinds), shape)
            return rng.random(shape) > 0.4 if name.startswith("weight") else rng.random(shape)

        shapes = batch_shapes(config, small_vocabulary)
        return {key: fill(key.rpartition("/")[2], s.shape).astype(s.dtype) for key, s in shapes.items()}

    return make


@pytest.fixture(scope="session")
def random_state() -> Callable[[Any], Any]:
    """Function run -> state to start from, laid out as the run says, its parameters random and the same on any mesh.

    It spares the compilation of `run.init_state`, which takes as long as that of the step.
    """

    def make(run: Any) -> Any:
        rng = np.random.default_rng(0)

        def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
            if path_name(path).endswith(("scale", "bias")):
                return np.full(leaf.shape, path_name(path).endswith("scale"), leaf.dtype)
            if path_name(path).endswith("temperature"):
                return np.full(leaf.shape, 0.1, leaf.dtype)
            return (0.02 * rng.normal(size=leaf.shape)).astype(leaf.dtype)

        abstract = run.abstract_state
        filled = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
        filled = filled.replace(params=jax.tree_util.tree_map_with_path(fill, abstract.params))
        placed = jax.device_put(filled, jax.tree.map(lambda leaf: leaf.sharding, abstract))
        return run.start_from(placed, placed.params) if abstract.extras else placed

    return make
