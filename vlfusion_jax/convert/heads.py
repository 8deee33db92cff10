"""The heads that a converted model shall have: read, left out, or fresh."""

import numpy as np

from vlfusion_jax.config.keys import nearest
from vlfusion_jax.config.schema import default_config
from vlfusion_jax.convert.name_map import NameMap
from vlfusion_jax.convert.source import Checkpoint
from vlfusion_jax.convert.weights import Accounting, import_weights, without_heads
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.parameters import fresh_params, param_shapes
from vlfusion_jax.models.spec.model import ModelSpec


def check_heads(spec: ModelSpec, wanted: tuple[str, ...], family: str) -> None:
    """Raise UserError unless the model has the heads `wanted`."""
    known = dict(spec.heads)
    for head in wanted:
        if head not in known:
            has = ", ".join(known) or "none"
            raise UserError(
                f"this model of family {family!r} has no head {head!r}; it has {has}.{nearest(head, known)}"
            )


def read_params(
    checkpoint: Checkpoint, keys: NameMap, spec: ModelSpec, stored: tuple[str, ...], wanted: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], Accounting]:
    """Parameters of a model with the heads `wanted`, and what became of every key.

    Of the heads `stored`, which `keys` reads, those not wanted are left out; others that are wanted start fresh, as in
    a run with the default seed.
    """
    fresh = tuple(head for head in wanted if head not in stored)
    keys = without_heads(keys, (head for head in stored if head not in wanted))
    shapes = param_shapes(spec, wanted)
    params, account = import_weights(checkpoint.keys, checkpoint.read, keys, shapes, checkpoint.where, fresh)
    if account.new:
        params |= fresh_params(spec, wanted, account.new, default_config().seed)
    return params, account
