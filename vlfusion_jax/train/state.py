"""The state that training carries from step to step: all of it, and nothing that could be derived."""

from typing import Any

import jax
from flax import struct


@struct.dataclass
class TrainState:
    """Attributes.

    step: int32 scalar, the number of completed updates; random keys follow from it, so none is stored.
    params: f32 parameters.
    opt_state: state of the optax optimizer.
    extras: what features that wrap the step keep (averages, queues); empty without any.
    """

    step: jax.Array
    params: Any
    opt_state: Any
    extras: dict[str, Any] = struct.field(default_factory=dict)
