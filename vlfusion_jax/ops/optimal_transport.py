"""Optimal transport between two sets of vectors, as word-patch alignment uses it (Chen et al. 2020, section 3.2)."""

import jax
import jax.numpy as jnp

from vlfusion_jax.ops.cosine import unit_vectors


def cosine_cost(x_bnd: jax.Array, y_bmd: jax.Array, x_mask_bn: jax.Array, y_mask_bm: jax.Array) -> jax.Array:
    """One minus the cosine of each pair of vectors; 0 where either is masked.

    Args:
      x_bnd: [batch, n, dim]; `y_bmd`: [batch, m, dim].
      x_mask_bn: [batch, n], 1 = keep; `y_mask_bm`: [batch, m].

    Returns:
      [batch, n, m] f32. A vector shorter than 1e-5 counts as of that length (UNITER, ViLT), so a zero one costs 1.
    """
    x_bnd, y_bmd = (unit_vectors(each, 1e-5) for each in (x_bnd, y_bmd))
    cosine = jnp.einsum("bnd,bmd->bnm", x_bnd, y_bmd, precision=jax.lax.Precision.HIGHEST)
    return jnp.where(_joint(x_mask_bn, y_mask_bm), 1 - cosine, 0)


def ipot(
    cost_bnm: jax.Array,
    x_mask_bn: jax.Array,
    y_mask_bm: jax.Array,
    beta: float = 0.5,
    iterations: int = 50,
    inner: int = 1,
) -> jax.Array:
    """Transport plan between uniform weights by inexact proximal point steps (IPOT, Xie et al. 2020, algorithm 1).

    Each step is a few rounds of Sinkhorn on the plan before it, so the plan nears the exact one at any `beta`.

    Args:
      cost_bnm: [batch, n, m], of any value where masked.
      x_mask_bn: [batch, n], 1 = keep; `y_mask_bm`: [batch, m].
      beta: weight of the nearness to the plan before; exp(-cost / beta) must not vanish in f32.
      iterations: proximal steps; `inner`: rounds of Sinkhorn in each.

    Returns:
      [batch, n, m] f32 without a gradient. Kept rows sum to 1 / (how many x are kept), kept columns nearly so; what is
      masked is 0, all of it where nothing is kept on one side.
    """
    joint = _joint(x_mask_bn, y_mask_bm)
    x_count, y_count = joint.any(2).sum(1, keepdims=True), joint.any(1).sum(1, keepdims=True)
    # The gradient stops here already, so that the backward pass keeps nothing of the steps.
    kernel = jnp.where(joint, jnp.exp(-jax.lax.stop_gradient(cost_bnm).astype(jnp.float32) / beta), 0)

    def step(carry: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], None]:
        plan, x_scale = carry
        plan = kernel * plan
        for _ in range(inner):
            y_scale = _inverse(y_count * (plan * x_scale[:, :, None]).sum(1))
            x_scale = _inverse(x_count * (plan * y_scale[:, None, :]).sum(2))
        return (x_scale[:, :, None] * plan * y_scale[:, None, :], x_scale), None

    start = joint.astype(jnp.float32), joint.any(2) * _inverse(x_count.astype(jnp.float32))
    (plan, _), _ = jax.lax.scan(step, start, None, length=iterations)
    return plan


def transport_distance(cost_bnm: jax.Array, plan_bnm: jax.Array) -> jax.Array:
    """Cost of a plan, trace(Cᵀ T): two arrays [batch, n, m] → [batch] f32."""
    return (cost_bnm.astype(jnp.float32) * plan_bnm).sum((1, 2))


def _joint(x_mask_bn: jax.Array, y_mask_bm: jax.Array) -> jax.Array:
    return (x_mask_bn[:, :, None] > 0) & (y_mask_bm[:, None, :] > 0)


def _inverse(x: jax.Array) -> jax.Array:
    """1 / x, and 0 where x is."""
    return jnp.where(x > 0, 1 / jnp.where(x > 0, x, 1), 0)
