"""Parameters that training must not move out of bounds."""

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vlfusion_jax.core import names
from vlfusion_jax.core.tree import path_name

# ALBEF's temperature, clamped in its code; CLIP's scale of at most 100 (Radford et al. 2021, section 2.5).
BOUNDS = {
    rf"^{names.HEAD}{names.CONTRASTIVE}/temperature$": (0.001, 0.5),
    rf"^{names.HEAD}{names.CONTRASTIVE}/log_scale$": (-math.inf, math.log(100.0)),
}


def is_bounded(path: str) -> bool:
    """Whether a parameter has bounds."""
    return any(re.search(pattern, path) for pattern in BOUNDS)


def within_bounds() -> optax.GradientTransformation:
    """Cuts updates so that parameters of `BOUNDS` end within them; comes last."""

    def cut(path: tuple, update: Any, param: Any) -> Any:
        for pattern, (low, high) in BOUNDS.items():
            if re.search(pattern, path_name(path)):
                return jnp.clip(param + update, low, high) - param
        return update

    return optax.stateless(lambda updates, params: jax.tree_util.tree_map_with_path(cut, updates, params))
