"""A training batch of random content, for programs whose speed is measured."""

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.data.pipeline import batch_shapes
from vlfusion_jax.train.setup import Run


def random_batch(run: Run) -> dict[str, jax.Array]:
    """Batch as `batch_shapes` says: ids that exist, no padding, every weight 1; always the same. Traceable."""
    shapes = batch_shapes(run.config, run.vocabulary)
    keys = jax.random.split(jax.random.key(run.config.seed), len(shapes))
    return {name: _fill(run, name, each, key) for (name, each), key in zip(shapes.items(), keys, strict=True)}


def _fill(run: Run, name: str, shape: jax.ShapeDtypeStruct, key: jax.Array) -> jax.Array:
    below = {
        names.IMAGE: 256,
        names.TEXT: run.vocabulary.size,
        names.TARGET: run.vocabulary.size,
        names.MLM_LABELS: run.vocabulary.size,
        names.MLM_POSITIONS: run.config.data.caption_length,
        names.ANSWER_IDS: len(run.vocabulary.answers),
        names.ITM_LABEL: 2,
        names.HIDDEN: 1,
        names.REGION_LABELS: run.config.tasks.mrm.classes,
        names.KIND: max(1, len(run.vocabulary.kinds)),
    }
    entry = name.rpartition("/")[2]
    if entry in below:
        return jax.random.randint(key, shape.shape, 0, below[entry]).astype(shape.dtype)
    if entry in (names.REGIONS, names.BOXES):
        return jax.random.uniform(key, shape.shape, shape.dtype)
    if entry == names.REGION_CLASSES:
        return jnp.full(shape.shape, 1 / shape.shape[-1], shape.dtype)
    return jnp.ones(shape.shape, shape.dtype)  # masks, weights, scores of answers, and vectors
