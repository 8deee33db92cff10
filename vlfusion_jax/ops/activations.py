"""Activation functions by name."""

from functools import partial

import jax
import jax.numpy as jnp


def gelu(x: jax.Array) -> jax.Array:
    """X Φ(x) (Hendrycks and Gimpel 2016, eq. 1), Φ by the error function as BERT and PyTorch compute it.

    `jax.nn.gelu` uses the complementary error function, which is slower on a CPU; the two differ by less than
    one unit in the last place of 1.
    """
    return 0.5 * x * (1 + jax.lax.erf(x * 0.5**0.5))


def quick_gelu(x: jax.Array) -> jax.Array:
    """Returns x σ(1.702 x) (Hendrycks and Gimpel 2016, section 2), as CLIP has it."""
    return x * jax.nn.sigmoid(1.702 * x)


# BERT, ViT and ViLT use the exact form of gelu; `jax.nn.gelu` defaults to the other.
ACTIVATIONS = {
    "gelu": gelu,
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
    "quick_gelu": quick_gelu,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
}
