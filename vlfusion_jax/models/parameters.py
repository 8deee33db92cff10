"""How many parameters a model has, by part, without what only pads a table."""

import math
from collections import Counter
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from vlfusion_jax.core import names, rng
from vlfusion_jax.core.partitioned import unbox
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.inputs import input_shapes
from vlfusion_jax.models.spec.heads import ClassHead, WordHead
from vlfusion_jax.models.spec.inputs import TextInput
from vlfusion_jax.models.spec.model import ModelSpec


def param_shapes(spec: ModelSpec, heads: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
    """{path: shape} of all parameters of a model with these heads; nothing is computed."""
    model, inputs = FusionModel(spec), input_shapes(spec.inputs, rows=2)
    tree = jax.eval_shape(lambda x: unbox(model.init(jax.random.key(0), x, heads)["params"]), inputs)
    return {path: tuple(leaf.shape) for path, leaf in flatten(tree).items()}


def fresh_params(spec: ModelSpec, heads: tuple[str, ...], paths: Iterable[str], seed: int) -> dict[str, np.ndarray]:
    """{path: array} of some parameters as a model with these heads starts with them; the others are not computed."""
    model, inputs = FusionModel(spec), input_shapes(spec.inputs, rows=2)

    def init(key: jax.Array) -> dict[str, jax.Array]:
        zeros = {name: jnp.zeros(each.shape, each.dtype) for name, each in inputs.items()}
        tree = flatten(unbox(model.init(key, zeros, heads)["params"]))
        return {path: tree[path] for path in paths}

    return {path: np.asarray(leaf) for path, leaf in jax.jit(init)(rng.key(seed, names.PARAMS)).items()}


def part_parameters(spec: ModelSpec, heads: tuple[str, ...]) -> dict[str, int]:
    """{part: number of parameters}, a part being a module at the top of the model, in the order of the spec."""
    shapes, counts = param_shapes(spec, heads), Counter()
    for path, shape in shapes.items():
        counts[path.partition("/")[0]] += math.prod(shape)
    counts.subtract(_padding(spec, heads, shapes))
    order = [each.stream for each in spec.inputs] + [getattr(step, "name", "") for step in spec.steps]
    return dict(sorted(counts.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def _padding(spec: ModelSpec, heads: tuple[str, ...], shapes: dict[str, tuple[int, ...]]) -> dict[str, int]:
    """{part: numbers in it that pad a vocabulary or an answer set}."""
    padding = {}
    for each in spec.inputs:
        if isinstance(each, TextInput):
            padding[each.stream] = (each.padded_vocab - each.vocab) * each.width
    for name in heads:
        head, part = spec.head(name), names.HEAD + name
        if isinstance(head, WordHead):
            source = spec.words(head)
            padding[part] = (source.padded_vocab - source.vocab) * (1 if head.tied else 1 + source.width)
        elif isinstance(head, ClassHead) and head.pad:
            kernels = [
                x for path, x in shapes.items() if path.startswith(f"{part}/") and path.endswith("classes/kernel")
            ]
            padding[part] = (head.padded - head.classes) * sum(1 + inputs for inputs, _ in kernels)
    return padding
