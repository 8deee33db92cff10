"""How many numbers a forward pass produces: the outputs of all its products."""

import math
from functools import partial

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.inputs import input_shapes
from vlfusion_jax.models.spec.model import ModelSpec

_PRODUCTS = ("dot_general", "conv_general_dilated")


def count_activations(spec: ModelSpec, heads: tuple[str, ...], tokens: int) -> int:
    """Numbers for one text of `tokens` with its image: outputs of matrix products and convolutions.

    The usual measure of what a backward pass has to keep or compute again (Dollár et al. 2021, "Fast and Accurate Model
    Scaling", section 3); counted in the traced program, nothing is computed.
    """
    model, inputs = FusionModel(spec), input_shapes(spec.inputs, rows=1, tokens=tokens)
    variables = jax.eval_shape(partial(model.init, jax.random.key(0), heads=heads), inputs)
    return _count(jax.make_jaxpr(partial(model.apply, heads=heads))(variables, inputs).jaxpr)


def _count(jaxpr: Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name in _PRODUCTS:
            total += math.prod(equation.outvars[0].aval.shape)
        times = equation.params["length"] if equation.primitive.name == "scan" else 1
        for value in equation.params.values():
            inner = value.jaxpr if isinstance(value, ClosedJaxpr) else value
            if isinstance(inner, Jaxpr):
                total += times * _count(inner)
    return total
