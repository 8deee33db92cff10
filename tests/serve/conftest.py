"""Small models with random parameters, as `load` gives them."""

from collections.abc import Callable

import jax
import numpy as np
import pytest

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.core.partitioned import unbox
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.data.tokenizer import train_tokenizer
from vlfusion_jax.data.vocabulary import Vocabulary
from vlfusion_jax.models.families.table import hyperparameters, model_spec
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.inputs import input_shapes
from vlfusion_jax.serve.model import Model

WORDS = "red green blue a thing is that snowfall what colour"
ANSWERS = ("red", "green", "blue")


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Model]:
    """Function (family, size="tiny", heads, seed, changes as `data__resize="fit"`) -> a model on a 32 x 32 canvas."""

    def make(family: str, size: str = "tiny", heads: tuple[str, ...] = (names.VQA,), seed: int = 0, **changes) -> Model:
        config = default_config()
        config.model = hyperparameters(family, size)
        settings = {"data.image_size": (32, 32), "data.question_length": 24, "data.caption_length": 24}
        config.update_from_flattened_dict(settings | {k.replace("__", "."): v for k, v in changes.items()})
        words = train_tokenizer([*WORDS.split(), "abcdefghijklmnopqrstuvwxyz"], 120)
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
