"""What of a checkpoint's parameters another model can take."""

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from vlfusion_jax.core.errors import UserError


def reusable(
    wanted: dict[str, Any],
    stored: dict[str, Any],
    allow_new: tuple[str, ...],
    allow_longer: tuple[str, ...],
    allow_shorter: tuple[str, ...],
    folder: Path,
) -> dict[str, Any]:
    """The wanted leaves as the checkpoint can give them.

    Args:
      wanted: {path: shape and dtype with `sharding`} of the model's parameters.
      stored: {path: what has a shape} of those in the checkpoint.
      allow_new, allow_longer, allow_shorter: see `checkpoint.load_params`.
      folder: the checkpoint, for messages.

    Raises:
      UserError: naming all differences that nothing allows.
    """

    def refused(name: str) -> bool:
        return not any(re.search(pattern, name) for pattern in allow_new)

    def differs(name: str) -> bool:
        return tuple(stored[name].shape) != tuple(wanted[name].shape) and name not in fitted

    def is_fitted(name: str) -> bool:
        there, here = tuple(stored[name].shape), tuple(wanted[name].shape)
        allowed = allow_longer if there > here else allow_shorter
        return there[1:] == here[1:] and there != here and any(re.search(pattern, name) for pattern in allowed)

    fitted = {name for name in wanted if name in stored and is_fitted(name)}

    missing = [name for name in wanted if name not in stored]
    unused = [name for name in stored if name not in wanted]
    reshaped = [name for name in wanted if name in stored and differs(name)]
    complaints = [
        *(f"{name}: missing in the checkpoint" for name in missing if refused(name)),
        *(f"{name}: in the checkpoint, not in the model" for name in unused if refused(name)),
        *(
            f"{name}: {tuple(stored[name].shape)} in the checkpoint, {tuple(wanted[name].shape)} in the model"
            for name in reshaped
            if refused(name)
        ),
    ]
    if complaints:
        raise UserError(
            f"the parameters of {folder} do not fit this model; use the model section and data.image_size of the config"
            " that made it, and texts that are no longer (data.question_length, data.caption_length).\n  "
            + "\n  ".join(complaints)
        )
    return {
        name: _whole(stored[name].shape, leaf) if name in fitted else leaf
        for name, leaf in wanted.items()
        if name not in missing and name not in reshaped
    }


def fit_rows(array: jax.Array, wanted: jax.ShapeDtypeStruct) -> jax.Array:
    """As many rows of an array as wanted, the last one again where there are too few, placed as wanted."""
    if array.shape == wanted.shape:
        return array
    numbers = np.minimum(np.arange(wanted.shape[0]), array.shape[0] - 1)
    return jax.jit(lambda rows: rows[numbers], out_shardings=wanted.sharding)(array)


def _whole(shape: tuple[int, ...], leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """A leaf of `shape` on every device of `leaf`: what divides the rows of the one need not divide the other's."""
    everywhere = NamedSharding(leaf.sharding.mesh, PartitionSpec())
    return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=everywhere)
