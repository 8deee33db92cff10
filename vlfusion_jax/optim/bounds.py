"""Parameters that training must not move out of bounds."""

import math
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vlfusion_jax.core import names
from vlfusion_jax.core.tree import path_name

Bounds = dict[str, tuple[float, float]]

_HEAD = names.HEAD + names.CONTRASTIVE
_TEMPERATURE, _LOG_SCALE, _BIAS = (f"{_HEAD}/{name}" for name in ("temperature", "log_scale", "bias"))


def bounds_of(paths: Collection[str]) -> Bounds:
    """{path: (lowest, highest)} of those parameters that have bounds.

    ALBEF's temperature, clamped in its code; CLIP's scale of at most 100 (Radford et al. 2021, section 2.5), which
    SigLIP, whose head has a bias, does not know.
    """
    bounds: Bounds = {_TEMPERATURE: (0.001, 0.5)} if _TEMPERATURE in paths else {}
    return bounds | ({_LOG_SCALE: (-math.inf, math.log(100.0))} if _LOG_SCALE in paths and _BIAS not in paths else {})


def within(bounds: Bounds) -> optax.GradientTransformation:
    """Cuts updates so that parameters end within their bounds; comes last."""

    def cut(path: tuple, update: Any, param: Any) -> Any:
        low, high = bounds.get(path_name(path), (None, None))
        return update if low is None else jnp.clip(param + update, low, high) - param

    return optax.stateless(lambda updates, params: jax.tree_util.tree_map_with_path(cut, updates, params))
