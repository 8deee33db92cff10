"""Small models with random parameters, as `load` gives them."""

import re
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.core.partitioned import unbox
from vlfusion_jax.core.tree import flatten, path_name
from vlfusion_jax.data.records import EncodedImage, Record, count_answers
from vlfusion_jax.data.tokenizer import train_tokenizer
from vlfusion_jax.data.vocabulary import Vocabulary, build_vocabulary
from vlfusion_jax.models.families.table import hyperparameters, model_spec
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.inputs import input_shapes
from vlfusion_jax.serve.model import Model

BOTH = (names.CONTRASTIVE, names.ITM)
TEXTS = ("a red cat", "two dogs on a lawn", "it rains", "a cat beside two dogs", "nothing", "one red lawn", "dogs")
COLOUR_WORDS = "red green blue a thing is that snowfall what colour"
ANSWERS = ("red", "green", "blue")


class Captioned(list):
    """A source held in memory."""

    images_per_record, labelled = 1, False

    def texts(self):
        return (text for record in self for text in record.captions)

    def text_of(self, index):
        return self[index].captions, self[index].questions

    def answer_counts(self):
        return count_answers(self)


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """Random images of several sizes."""
    rng = np.random.default_rng(seed)
    return [rng.integers(256, size=(*rng.integers(10, 28, 2), 3), dtype=np.uint8) for _ in range(count)]


def config_of(family: str) -> ConfigDict:
    config = default_config()
    more = {"variant": "retrieval"} if family == "blip" else {}
    config.model = hyperparameters(family, "tiny", **more)
    if "patch_size" in config.model:
        config.model.patch_size = 12
    config.data.image_size, config.data.question_length, config.data.caption_length = (24, 36), 12, 12
    config.tasks.vqa.weight, config.tasks.itm.weight = 0.0, 1.0
    return config


@pytest.fixture(scope="session")
def words() -> Vocabulary:
    return build_vocabulary(
        [Captioned([Record((EncodedImage(b"", ""),), (*TEXTS, "it is green", "it is blue"), ())])],
        default_config().data,
    )


@pytest.fixture(scope="session")
def matching_model(words) -> Callable[..., Model]:
    """Function (family, heads=BOTH) -> a model of it whose parameters are all random, biases and norms too."""

    def make(family: str, heads: tuple[str, ...] = BOTH) -> Model:
        config = config_of(family)
        spec = model_spec(config, words.size, 0)
        zeros = {name: jnp.zeros(s.shape, s.dtype) for name, s in input_shapes(spec.inputs, rows=2).items()}
        shapes = jax.eval_shape(lambda: unbox(FusionModel(spec).init(jax.random.key(0), zeros, heads)["params"]))
        rng = np.random.default_rng(11)

        def fill(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
            around = 1.0 if re.search(r"/(scale|variance|temperature)$", path_name(path)) else 0.0
            return (around + 0.15 * rng.normal(size=leaf.shape)).astype(leaf.dtype)

        params = jax.tree_util.tree_map_with_path(fill, shapes)
        return Model(config, words, {path_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(params)})

    return make


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Model]:
    """Function (family, size="tiny", heads, seed, changes as `data__resize="fit"`) -> a model on a 32 x 32 canvas."""

    def make(family: str, size: str = "tiny", heads: tuple[str, ...] = (names.VQA,), seed: int = 0, **changes) -> Model:
        config = default_config()
        config.model = hyperparameters(family, size)
        settings = {"data.image_size": (32, 32), "data.question_length": 24, "data.caption_length": 24}
        config.update_from_flattened_dict(settings | {k.replace("__", "."): v for k, v in changes.items()})
        words = train_tokenizer([*COLOUR_WORDS.split(), "abcdefghijklmnopqrstuvwxyz"], 120)
        vocabulary = Vocabulary(words.to_str(), ANSWERS, ())
        spec = model_spec(config, vocabulary.size, len(ANSWERS))
        module, shapes = FusionModel(spec), input_shapes(spec.inputs)
        heads = tuple(head for head in heads if head in dict(spec.heads))
        key = jax.random.key(seed)
        zeros = {name: np.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()}
        abstract = jax.eval_shape(lambda: unbox(module.init(key, zeros, heads)["params"]))
        rng = np.random.default_rng(seed)
        params = {
            path: (path.endswith("scale") + 0.3 * rng.normal(size=leaf.shape)).astype(leaf.dtype)
            for path, leaf in flatten(abstract).items()
        }
        return Model(config, vocabulary, params)

    return make
