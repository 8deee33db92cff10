"""Small models with random parameters, and random inputs with padding in text and image."""

import math
import re
from collections.abc import Callable

import jax
import numpy as np
import pytest

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.core.partitioned import unbox
from vlfusion_jax.core.tree import path_name
from vlfusion_jax.models.families.table import hyperparameters, model_spec
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.spec.model import ModelSpec

HEADS = (names.MLM, names.ITM, names.VQA)
VOCAB, ANSWERS, HEIGHT, WIDTH, PREDICTIONS = 50, 7, 24, 36, 3


@pytest.fixture(scope="session")
def make_spec() -> Callable[..., ModelSpec]:
    """Function (changes as `model__width=8`) -> spec of a model of two layers on images of 24 x 36 pixels."""

    def make(**changes) -> ModelSpec:
        config = default_config()
        config.model = hyperparameters(changes.pop("model__family", "single_stream"))
        settings = {
            "model.width": 12, "model.heads": 3, "model.mlp_width": 20, "model.layers": 2, "model.text_layers": 1,
            "model.image_layers": 1, "model.cross_layers": 2, "model.patch_size": 12, "model.conv_channels": (4, 6, 8),
            "data.image_size": (HEIGHT, WIDTH), "data.question_length": 12, "data.caption_length": 12,
            "tasks.mlm.weight": 1.0, "tasks.itm.weight": 1.0, "tasks.vqa.hidden": 14,
        }  # fmt: skip
        settings |= {key.replace("__", "."): value for key, value in changes.items()}
        config.update_from_flattened_dict(settings)
        return model_spec(config, VOCAB, ANSWERS)

    return make


@pytest.fixture(scope="session")
def random_inputs() -> Callable[..., dict[str, np.ndarray]]:
    """Function (seed, images=3, texts=1, tokens=6) -> inputs; texts and images end early, each at its own place.

    Positions to predict are among those of real tokens.
    """

    def make(seed: int, images: int = 3, texts: int = 1, tokens: int = 6) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        rows = images * texts
        lengths = rng.integers(3, tokens + 1, rows)
        sizes = np.stack([rng.integers(5, side + 1, images) for side in (HEIGHT, WIDTH)], axis=1)
        inside = [np.arange(side) < sizes[:, [axis]] for axis, side in enumerate((HEIGHT, WIDTH))]
        image_mask = (inside[0][:, :, None] & inside[1][:, None, :]).astype(np.uint8)
        text_mask = (np.arange(tokens) < lengths[:, None]).astype(np.int32)
        return {
            names.IMAGE: rng.integers(256, size=(images, HEIGHT, WIDTH, 3)).astype(np.uint8) * image_mask[..., None],
            names.IMAGE_MASK: image_mask,
            names.TEXT: rng.integers(5, VOCAB, (rows, tokens)).astype(np.int32) * text_mask,
            names.TEXT_MASK: text_mask,
            names.MLM_POSITIONS: rng.integers(0, 3, (rows, PREDICTIONS)).astype(np.int32),
        }

    return make


@pytest.fixture(scope="session")
def random_model(random_inputs) -> Callable[..., tuple[FusionModel, dict]]:
    """Function (spec, heads=HEADS, inputs=`random_inputs`) -> the model, all its parameters random, norms too."""

    def make(spec: ModelSpec, heads: tuple[str, ...] = HEADS, inputs: dict | None = None) -> tuple[FusionModel, dict]:
        model = FusionModel(spec)
        inputs = random_inputs(0) if inputs is None else inputs
        shapes = jax.eval_shape(lambda: unbox(model.init(jax.random.key(0), inputs, heads)["params"]))
        rng = np.random.default_rng(11)

        def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
            around = 1.0 if re.search(r"/(scale|variance|gain_\d)$", path_name(path)) else 0.0
            # Deep towers would multiply their scale at every convolution.
            deep = re.search(r"grid_tokens/.*/kernel$", path_name(path))
            scale = math.prod(leaf.shape[:-1]) ** -0.5 if deep else 0.15
            return (around + scale * rng.normal(size=leaf.shape)).astype(leaf.dtype)

        return model, jax.tree_util.tree_map_with_path(fill, shapes)

    return make
