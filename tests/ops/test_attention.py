"""Attention against PyTorch's, and at the edges of its mask."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax._src.cudnn import fused_attention_stablehlo
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel

from vlfusion_jax.ops import attention
from vlfusion_jax.ops.attention import attention_weights, dot_product_attention
from vlfusion_jax.ops.dropout import keep_mask, kept_share
from vlfusion_jax.ops.fused_attention import jax_attention, splash_attention

BATCH, HEADS, QUERIES, KEYS, WIDTH = 3, 2, 5, 7, 6


@pytest.fixture(scope="module")
def arrays():
    """Query, key, value, upstream gradient, and a mask that keeps at least one key of every row."""
    rng = np.random.default_rng(0)
    query, grad = (rng.normal(size=(BATCH, HEADS, QUERIES, WIDTH)).astype(np.float32) for _ in range(2))
    key, value = (rng.normal(size=(BATCH, HEADS, KEYS, WIDTH)).astype(np.float32) for _ in range(2))
    mask = (rng.random((BATCH, KEYS)) > 0.5).astype(np.int32)
    mask[:, 2] = 1
    return 3 * query, key, value, grad, mask


def value_and_gradients(query, key, value, grad, mask):
    def scalar(*inputs):
        return (dot_product_attention(*inputs, mask) * grad).sum()

    attended, weights = dot_product_attention(query, key, value, mask), attention_weights(query, key, mask)
    return attended, weights, jax.grad(scalar, argnums=(0, 1, 2))(query, key, value)


def test_equals_torch(arrays):
    query, key, value, grad, mask = arrays
    attended, _, grads = value_and_gradients(*arrays)
    theirs = [torch.tensor(x, requires_grad=True) for x in (query, key, value)]
    keep = torch.tensor(mask).bool()[:, None, None, :]
    expected = torch.nn.functional.scaled_dot_product_attention(*theirs, attn_mask=keep)
    expected.backward(torch.tensor(grad))
    np.testing.assert_allclose(attended, expected.detach(), atol=2e-6)
    for ours, tensor in zip(grads, theirs, strict=True):
        np.testing.assert_allclose(ours, tensor.grad, atol=5e-6)


def test_weights_are_the_softmax_and_sum_to_one(arrays):
    query, key, _, _, mask = arrays
    weights = attention_weights(query, key, mask)
    scores = np.einsum("bhqd,bhkd->bhqk", query.astype(np.float64), key) / np.sqrt(WIDTH)
    exp = np.exp(scores) * mask[:, None, None, :]
    np.testing.assert_allclose(weights, exp / exp.sum(-1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    assert not np.asarray(weights)[np.broadcast_to(mask[:, None, None, :] == 0, weights.shape)].any()


def test_a_row_that_keeps_nothing_gives_zeros_and_no_gradient(arrays):
    *inputs, mask = arrays
    mask = mask.copy()
    mask[1] = 0
    attended, weights, grads = value_and_gradients(*inputs, mask)
    untouched, _, grads_untouched = value_and_gradients(*arrays)
    assert np.isfinite(weights).all()
    assert not np.asarray(attended[1]).any()
    for grad, before in zip(grads, grads_untouched, strict=True):
        assert not np.asarray(grad[1]).any()
        np.testing.assert_array_equal(grad[0], before[0])
    np.testing.assert_array_equal(attended[0], untouched[0])


def test_masked_keys_and_values_do_not_matter(arrays):
    query, key, value, grad, mask = arrays
    hidden = mask[:, None, :, None] == 0
    changed = value_and_gradients(query, np.where(hidden, 1e4, key), np.where(hidden, -1e4, value), grad, mask)
    for ours, before in zip(jax.tree.leaves(changed), jax.tree.leaves(value_and_gradients(*arrays)), strict=True):
        np.testing.assert_array_equal(ours, before)


def test_softmax_is_f32_where_inputs_are_bf16(arrays):
    query, key, value, _, mask = arrays
    low = [jnp.asarray(x, jnp.bfloat16) for x in (query, key, value)]
    attended, weights = dot_product_attention(*low, mask), attention_weights(*low[:2], mask)
    assert attended.dtype == jnp.bfloat16
    assert weights.dtype == jnp.float32
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)


def test_bf16_is_as_near_as_its_rounding(arrays):
    query, key, value, _, mask = arrays
    low = [jnp.asarray(x, jnp.bfloat16) for x in (query, key, value)]
    exact = [np.asarray(x, np.float64) for x in low]
    scores = np.einsum("bhqd,bhkd->bhqk", *exact[:2]) / np.sqrt(query.shape[-1])
    weights = np.exp(scores) * (mask[:, None, None, :] > 0)
    expected = np.einsum("bhqk,bhkd->bhqd", weights, exact[2]) / np.maximum(weights.sum(-1, keepdims=True), 1e-30)
    found = np.asarray(dot_product_attention(*low, mask), np.float64)
    np.testing.assert_allclose(found, expected, atol=3 * 2**-8 * np.abs(exact[2]).max())


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_sums_by_a_product_are_sums(dtype):
    x = jnp.asarray(np.random.default_rng(7).random((2, 3, 5, 11)), dtype)
    expected = np.asarray(x, np.float64).sum(-1, keepdims=True)
    for sums in (attention._sums, attention._sums_by_product):
        assert sums(x).dtype == jnp.float32
        np.testing.assert_allclose(sums(x), expected, rtol=1e-6)


def test_a_causal_query_sees_what_comes_before(arrays):
    query, _, _, grad, _ = arrays
    key, value = query[:, :, ::-1] + 1, grad[:, :, ::-1]
    mask = np.ones((BATCH, QUERIES), np.int32)
    ours = dot_product_attention(query, key, value, mask, causal=True)
    theirs = [torch.tensor(np.ascontiguousarray(x)) for x in (query, key, value)]
    np.testing.assert_allclose(
        ours, torch.nn.functional.scaled_dot_product_attention(*theirs, is_causal=True), atol=2e-6
    )
    assert not np.triu(np.asarray(attention_weights(query, key, mask, causal=True)), 1).any()


def test_dropout_keeps_the_mean(arrays):
    query, key, value, _, mask = arrays
    plain = dot_product_attention(query, key, value, mask)
    keys = jax.random.split(jax.random.key(0), 1000)
    drop = jax.jit(jax.vmap(lambda k: dot_product_attention(query, key, value, mask, dropout_rate=0.25, dropout_key=k)))
    dropped = np.asarray(drop(keys))
    deviation = dropped.std(0)
    assert (deviation > 0).all()
    error = np.abs(dropped.mean(0) - plain)
    assert (error < 5 * deviation / np.sqrt(len(keys))).all()


def test_gradients_under_dropout(arrays):
    """Against automatic differentiation of the equation, with the same weights dropped."""
    query, key, value, grad, mask = arrays
    drop_key = jax.random.key(3)
    kept = keep_mask(0.25, drop_key, (BATCH, HEADS, QUERIES, KEYS))

    def ours(*inputs):
        return (dot_product_attention(*inputs, mask, dropout_rate=0.25, dropout_key=drop_key) * grad).sum()

    def expected(query, key, value):
        dropped = attention_weights(query, key, mask) * kept / kept_share(0.25)
        return (jnp.einsum("bhqk,bhkd->bhqd", dropped, value) * grad).sum()

    pairs = zip(*(jax.grad(f, argnums=(0, 1, 2))(query, key, value) for f in (ours, expected)), strict=True)
    for one, other in pairs:
        np.testing.assert_allclose(one, other, atol=5e-6)


def jax_by_xla(query, key, value, mask, *, causal):
    return jax_attention("xla", query, key, value, mask, causal=causal)


@pytest.mark.parametrize("kernel", [splash_attention, jax_by_xla])
@pytest.mark.parametrize(
    ("queries", "keys", "causal"), [(185, 185, False), (40, 144, False), (130, 130, True), (600, 600, False)]
)
def test_kernels_compute_the_same(monkeypatch, kernel, queries, keys, causal):
    rng = np.random.default_rng(queries)
    batch, heads, dim = 3, 2, 64
    query, grad = (rng.normal(size=(batch, heads, queries, dim)).astype(np.float32) for _ in range(2))
    key, value = (rng.normal(size=(batch, heads, keys, dim)).astype(np.float32) for _ in range(2))
    mask = (rng.random((batch, keys)) > 0.3).astype(np.int32)
    mask[:, 0], mask[1] = 1, 0  # every query sees something, but for one row which sees nothing

    def run(function):
        value_, pullback = jax.vjp(lambda q, k, v: function(q, k, v, mask, causal=causal), query, key, value)
        return value_, *pullback(grad)

    here = partial(splash_attention_kernel.make_splash_mha_single_device, interpret=True)
    monkeypatch.setattr(splash_attention_kernel, "make_splash_mha_single_device", here)
    ours = run(kernel)
    assert not np.any(ours[0][1])
    for found, expected in zip(ours, run(dot_product_attention), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize(("queries", "keys"), [(185, 185), (1, 144)])
def test_cudnn_takes_what_it_is_given(monkeypatch, queries, keys):
    """As far as the program: its own checks of shapes and types pass, forward and backward, without a GPU."""
    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(fused_attention_stablehlo, "check_compute_capability", lambda capability: True)
    query, key = (jax.ShapeDtypeStruct((2, 4, tokens, 64), jnp.bfloat16) for tokens in (queries, keys))
    mask = jax.ShapeDtypeStruct((2, keys), jnp.int32)

    def loss(*arrays):
        return jax_attention("cudnn", *arrays).astype(jnp.float32).sum()

    traced = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).trace(query, key, key, mask)
    assert traced.lower(lowering_platforms=("cuda",)).as_text().count("__cudnn$fmha") >= 2
