"""Dtypes of a run. Parameters, softmax, norm statistics and losses are f32 whatever the compute dtype."""

import jax.numpy as jnp

COMPUTE_DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
