"""Recurrent layers over tokens."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.core.partitioned import with_axes

GATES = {"lstm": 4, "gru": 3}
State = tuple[jax.Array, ...]


def lstm_step(state: State, inputs: jax.Array, kernel: jax.Array, bias: jax.Array) -> State:
    """(hidden, cell) and the inputs' share of the gates [rows, 4 h] → the next (Hochreiter and Schmidhuber 1997).

    Gates stand in the order input, forget, cell, output; the forget gate is that of Gers et al. 2000.
    """
    hidden, cell = state
    gates = inputs + hidden.astype(kernel.dtype) @ kernel + bias
    i, f, g, o = jnp.split(gates.astype(jnp.float32), 4, axis=-1)
    cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(cell), cell


def gru_step(state: State, inputs: jax.Array, kernel: jax.Array, bias: jax.Array) -> State:
    """(hidden,) and the inputs' share of the gates [rows, 3 h] → the next (Cho et al. 2014).

    Gates stand in the order reset, update, new; the reset gate acts on the product with the hidden state, as in cuDNN
    and PyTorch.
    """
    (hidden,) = state
    r_in, z_in, n_in = jnp.split(inputs.astype(jnp.float32), 3, axis=-1)
    r_h, z_h, n_h = jnp.split((hidden.astype(kernel.dtype) @ kernel + bias).astype(jnp.float32), 3, axis=-1)
    update = nn.sigmoid(z_in + z_h)
    return ((1 - update) * jnp.tanh(n_in + nn.sigmoid(r_in + r_h) * n_h) + update * hidden,)


class RecurrentStack(nn.Module):
    """Layers of one cell, from the first token on, or from both ends with the states joined.

    A padded token leaves the state as it is and yields zeros, so that padding on either side changes nothing.

    Attributes:
      cell: `lstm` or `gru`.
      width: hidden size of a direction.
      layers: how many.
      bidirectional: also from the last token on.
    """

    cell: str
    width: int
    layers: int
    bidirectional: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x_btd: jax.Array, mask_bt: jax.Array) -> jax.Array:
        """[rows, tokens, any] and mask [rows, tokens] → [rows, tokens, width or twice that]."""
        for i in range(self.layers):
            states = [self._direction(f"layer_{i}", x_btd, mask_bt, reverse=False)]
            if self.bidirectional:
                states.append(self._direction(f"layer_{i}_reverse", x_btd, mask_bt, reverse=True))
            x_btd = jnp.concatenate(states, axis=-1)
        return x_btd

    def _direction(self, name: str, x_btd: jax.Array, mask_bt: jax.Array, reverse: bool) -> jax.Array:
        gates = GATES[self.cell] * self.width
        normal, zeros = (
            nn.initializers.variance_scaling(1.0, "fan_in", "truncated_normal"),
            nn.initializers.zeros_init(),
        )

        def parameter(kind: str, init: Any, shape: tuple[int, ...], *axes: str) -> jax.Array:
            return self.param(f"{name}_{kind}", with_axes(init, *axes), shape, jnp.float32).astype(self.dtype)

        of_inputs = parameter("input_kernel", normal, (x_btd.shape[-1], gates), names.EMBED, names.MLP)
        of_state = parameter("state_kernel", normal, (self.width, gates), names.EMBED, names.MLP)
        input_bias = parameter("input_bias", zeros, (gates,), names.MLP_BIAS)
        state_bias = parameter("state_bias", zeros, (gates,), names.MLP_BIAS)
        step = lstm_step if self.cell == "lstm" else gru_step

        def advance(state: State, token: tuple[jax.Array, jax.Array]) -> tuple[State, jax.Array]:
            inputs, keep = token
            new = step(state, inputs, of_state, state_bias)
            state = tuple(jnp.where(keep, after, before) for after, before in zip(new, state, strict=True))
            return state, jnp.where(keep, new[0], 0).astype(self.dtype)

        zero = jnp.zeros((x_btd.shape[0], self.width), jnp.float32)  # small steps add up in the states
        inputs_tbg = jnp.swapaxes(x_btd.astype(self.dtype) @ of_inputs + input_bias, 0, 1)
        keep_tb1 = mask_bt.T[..., None] > 0
        start = (zero, zero) if self.cell == "lstm" else (zero,)
        return jnp.swapaxes(jax.lax.scan(advance, start, (inputs_tbg, keep_tb1), reverse=reverse)[1], 0, 1)
