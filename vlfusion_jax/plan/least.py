"""What a strategy asks an update to send: the measure of what its compiled program sends."""

import math

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from vlfusion_jax.core import names
from vlfusion_jax.core.precision import COMPUTE_DTYPES
from vlfusion_jax.layers.block import MLP
from vlfusion_jax.models.flops import passing
from vlfusion_jax.train.arithmetic import passes
from vlfusion_jax.train.setup import Run


def least_bytes(run: Run) -> float:
    """Bytes that each device sends in an update, by the algorithms that send least; see `Collective.sent_bytes`.

    Parameters, over the axes of the batch, in the dtype of the computation: one sum of the gradient, of which each
    device receives what it updates. Where the parameter itself is split, a gather for the forward pass and one for the
    backward pass, of each micro-batch and pass over the model. Where its update alone is, a gather of the new value in
    its own dtype.

    Activations, where heads or hidden units are split: for each sub-layer a sum of what it gives and one of the
    gradients of what it reads, or as many bytes where tokens are gathered and scattered instead. Those of tables and
    heads, which are few, are left out.

    A program may send less: one that keeps a gathered table until its backward pass gathers it once.
    """
    itemsize = jnp.dtype(COMPUTE_DTYPES[run.config.precision.compute]).itemsize
    gathers = 2 * run.config.train.micro_batches * len(list(passes(run.config, run.model.spec)))
    params, grads = jax.tree.leaves(run.abstract_state.params), jax.tree.leaves(run.grad_shardings)
    of_params = sum(_of_parameter(run, *each, itemsize, gathers) for each in zip(params, grads, strict=True))
    return of_params + itemsize * _numbers_of_activations(run)


def _of_parameter(run: Run, param: jax.ShapeDtypeStruct, grad: NamedSharding, itemsize: int, gathers: int) -> float:
    batch = run.strategy.axes_of(names.BATCH)
    parts, updated, replicas = _parts(param.sharding, batch), _parts(grad, batch), run.strategy.batch_parts
    replicas //= updated
    numbers = param.size / (_parts(param.sharding) / parts)
    sent = itemsize * numbers * gathers * (parts - 1) / parts
    sent += itemsize * numbers * ((updated - 1) / updated + 2 * (replicas - 1) / replicas / updated)
    return sent + param.dtype.itemsize * numbers * (updated / parts - 1) / updated


def _parts(sharding: NamedSharding, axes: tuple[str, ...] | None = None) -> int:
    """Into how many parts mesh axes, by default all, split an array."""
    used = jax.tree.leaves(tuple(sharding.spec))
    return math.prod(sharding.mesh.shape[axis] for axis in used if axes is None or axis in axes)


def _numbers_of_activations(run: Run) -> float:
    records = run.config.train.batch_size / run.strategy.batch_parts
    sent = 0.0
    for run_pass in passes(run.config, run.model.spec):
        tokens = run_pass.text_tokens, run_pass.texts, run_pass.target_tokens, run_pass.images
        for each in passing(run.model.spec, *tokens):
            split = run.strategy.of_part(each.part).parts_of(names.MLP if each.kind == MLP else names.HEADS)
            if each.part in run_pass.parts:
                sent += records * run_pass.rows * (each.forward + each.backward) * 2 * (split - 1) / split
    return sent
