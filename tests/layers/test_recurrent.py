"""LSTM and GRU against PyTorch's on packed sequences, gradients too."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from vlfusion_jax.layers.recurrent import RecurrentStack

ROWS, TOKENS, INPUTS, WIDTH = 4, 7, 5, 6
LENGTHS = np.array([7, 1, 4, 6])
KINDS = [("lstm", 1, False), ("lstm", 2, True), ("gru", 1, True), ("gru", 3, False), ("gru", 2, True)]
# Our name of a parameter and PyTorch's.
NAMES = {
    "input_kernel": "weight_ih", "state_kernel": "weight_hh", "input_bias": "bias_ih", "state_bias": "bias_hh",
}  # fmt: skip


def to_torch(params: dict, cell: str, layers: int, bidirectional: bool) -> torch.nn.RNNBase:
    theirs = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](
        INPUTS, WIDTH, layers, batch_first=True, bidirectional=bidirectional
    )
    theirs.load_state_dict({their_name(name): torch.tensor(value.T) for name, value in params.items()})
    return theirs


def their_name(ours: str) -> str:
    """Such as `weight_ih_l0_reverse` for `layer_0_reverse_input_kernel`."""
    layer, *reverse, _, _ = ours.removeprefix("layer_").split("_")
    return "_".join([NAMES["_".join(ours.split("_")[-2:])], f"l{layer}", *reverse])


@pytest.mark.parametrize(("cell", "layers", "bidirectional"), KINDS)
def test_equals_torch_on_packed_sequences(random_params, cell, layers, bidirectional):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, TOKENS, INPUTS)).astype(np.float32)
    mask = (np.arange(TOKENS) < LENGTHS[:, None]).astype(np.int32)
    module = RecurrentStack(cell, WIDTH, layers, bidirectional)
    params = random_params(module, x, mask, scale=0.5)
    weights = rng.normal(size=(ROWS, TOKENS, WIDTH * (1 + bidirectional))).astype(np.float32)

    def loss(params, x):
        states = module.apply({"params": params}, x, mask)
        return (states * weights).sum(), states

    (grads, grad_x), states = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, x)

    theirs = to_torch(params, cell, layers, bidirectional)
    their_x = torch.tensor(x, requires_grad=True)
    packed = pack_padded_sequence(their_x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True)
    (expected * torch.tensor(weights)).sum().backward()

    np.testing.assert_allclose(states, expected.detach(), atol=2e-6)
    assert not np.asarray(states)[mask == 0].any()
    np.testing.assert_allclose(grad_x, their_x.grad, atol=1e-5)
    theirs_by_name = {name: value.grad.numpy().T for name, value in theirs.named_parameters()}
    assert {their_name(name) for name in grads} == set(theirs_by_name)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, theirs_by_name[their_name(name)], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_padding_in_front_and_behind_changes_nothing(random_params, cell):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(ROWS, TOKENS, INPUTS)).astype(np.float32)
    module = RecurrentStack(cell, WIDTH, 2, True)
    params = random_params(module, x, np.ones((ROWS, TOKENS), np.int32))
    alone = module.apply({"params": params}, x, np.ones((ROWS, TOKENS), np.int32))
    longer = rng.normal(size=(ROWS, TOKENS + 5, INPUTS)).astype(np.float32)
    longer[:, 2 : 2 + TOKENS] = x
    mask = np.zeros((ROWS, TOKENS + 5), np.int32)
    mask[:, 2 : 2 + TOKENS] = 1
    padded = module.apply({"params": params}, jnp.asarray(longer), mask)
    np.testing.assert_allclose(padded[:, 2 : 2 + TOKENS], alone, atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_states_are_kept_in_f32_where_products_are_not(random_params, cell):
    rng = np.random.default_rng(1)
    x, mask = rng.normal(size=(2, 60, INPUTS)).astype(np.float32), np.ones((2, 60), np.int32)
    exact = RecurrentStack(cell, WIDTH, 1, False)
    params = {"params": random_params(exact, x, mask)}
    fast = RecurrentStack(cell, WIDTH, 1, False, jnp.bfloat16)
    ours = fast.apply(params, x, mask)
    assert ours.dtype == jnp.bfloat16
    np.testing.assert_allclose(ours.astype(np.float32), exact.apply(params, x, mask), atol=0.03)
    kinds = {str(aval.dtype) for aval in state_avals(lambda x: fast.apply(params, x, mask), x)}
    assert kinds == {"float32"}


def state_avals(function, *inputs) -> list:
    """Types of what the program's loop carries from one token to the next."""
    scans = [e for e in jax.make_jaxpr(function)(*inputs).jaxpr.eqns if e.primitive.name == "scan"]
    [scan] = scans
    first = scan.params["num_consts"]
    return [v.aval for v in scan.invars[first : first + scan.params["num_carry"]]]
