"""Numbers that change with the step."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

Schedule = Callable[[jax.Array], jax.Array]


def learning_rate(kind: str, peak: float, final: float, warmup_steps: int, total_steps: int) -> Schedule:
    """Linear warm-up from zero, then `constant`, `linear` or `cosine` decay to `final` at `total_steps`."""
    rest = max(1, total_steps - warmup_steps)
    decay = {
        "constant": optax.constant_schedule(peak),
        "linear": optax.linear_schedule(peak, final, rest),
        "cosine": optax.cosine_decay_schedule(peak, rest, alpha=final / peak),
    }[kind]
    if warmup_steps == 0:
        return decay
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup_steps), decay], [warmup_steps])


def piecewise_linear(points: Sequence[tuple[int, float]]) -> Schedule:
    """Through the points (step, value), constant before the first and after the last; 1 where there are none."""
    if not points:
        return lambda step: jnp.float32(1)
    steps, values = np.asarray(points, np.float32).T  # of the host: a constant of the step, nothing to transfer
    return lambda step: jnp.interp(jnp.asarray(step, jnp.float32), steps, values)
