"""What computes attention is what was asked for, or the run does not begin."""

import jax
import pytest

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.layers.attention import Attention, attention_by
from vlfusion_jax.ops.fused_attention import KERNELS, jax_attention
from vlfusion_jax.train.setup import build


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": "splash"}, "attention='splash' runs on a tpu, these devices are cpu: set attention=xla"),
        ({"attention": "cudnn"}, "attention='cudnn' runs on a gpu"),
    ],
)
def test_another_platform(small_config, small_vocabulary, changes, message):
    with pytest.raises(UserError, match=message):
        build(small_config(**changes), small_vocabulary)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision__compute": "float32"}, "computes in 16 bits: set precision.compute=bfloat16"),
        ({"model__attention_dropout": 0.1}, "drops no attention weights"),
    ],
)
def test_what_a_kernel_cannot_do(monkeypatch, small_config, small_vocabulary, changes, message):
    monkeypatch.setitem(KERNELS, "cudnn", ("cpu", KERNELS["cudnn"][1]))
    changes = {"attention": "cudnn", "precision__compute": "bfloat16"} | changes
    with pytest.raises(UserError, match=message):
        build(small_config(**changes), small_vocabulary)


@pytest.mark.parametrize("width", [264, 20])
def test_heads_that_cudnn_does_not_know(width):
    x = jax.numpy.ones((1, 2, 4, width), "bfloat16")
    with pytest.raises(UserError, match=f"at most 256, these are {width} wide: set attention=xla"):
        KERNELS["cudnn"][1](x, x, x, jax.numpy.ones((1, 4)))


def test_the_kernel_of_the_choice_is_called_on_every_mesh(monkeypatch, small_config, small_vocabulary, random_batch,
                                                          random_state):  # fmt: skip
    called = []

    def kernel(*arrays, causal):
        called.append(arrays[0].shape)
        return jax_attention("xla", *arrays, causal=causal)

    monkeypatch.setitem(KERNELS, "splash", ("cpu", kernel))
    losses = {}
    for attention, devices, sharding in (("xla", 1, "dp"), ("splash", 1, "dp"), ("splash", 8, "fsdp_tp:2")):
        config = small_config(attention=attention, sharding=sharding)
        run = build(config, small_vocabulary, jax.devices()[:devices])
        batch = {k: jax.device_put(v, run.batch_sharding) for k, v in random_batch(config, 0).items()}
        losses[attention, devices] = float(run.eval_step(random_state(run).params, batch)["mlm_loss"][0])
    assert losses["splash", 1] == pytest.approx(losses["xla", 1], abs=1e-4)
    assert losses["splash", 8] == pytest.approx(losses["xla", 1], abs=1e-4)
    # Rows over the four of fsdp, heads over the two of tensor.
    whole, part = called[0], called[-1]
    assert (whole[0] // part[0], whole[1] // part[1]) == (4, 2)


def test_without_a_choice_no_kernel_is_called(monkeypatch):
    monkeypatch.setitem(KERNELS, "splash", ("cpu", None))
    x, mask = jax.numpy.ones((2, 3, 8)), jax.numpy.ones((2, 3))
    output, _ = Attention(2).init_with_output(jax.random.key(0), x, x, mask)[0]
    assert output.shape == x.shape
    with attention_by("splash"), pytest.raises(TypeError):
        Attention(2).init(jax.random.key(0), x, x, mask)
