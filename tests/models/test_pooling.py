"""Pools, combinations of vectors and late logits against their equations in float64 NumPy."""

import jax
import numpy as np
import pytest
from scipy.special import expit, softmax

from vlfusion_jax.core.partitioned import unbox
from vlfusion_jax.models.heads import ClassLogits, LateLogits
from vlfusion_jax.models.pooling import Combined, Pooled
from vlfusion_jax.models.spec.heads import ClassHead
from vlfusion_jax.models.spec.pools import Combine, Pool

ROWS, TOKENS, WIDTH, OUT, FACTORS, VECTORS = 5, 6, 8, 7, 3, 3
TOLERANCE = {"atol": 2e-6, "rtol": 2e-6}


def random_params(module, *inputs) -> dict:
    shapes = jax.eval_shape(lambda: unbox(module.init(jax.random.key(0), *inputs).get("params", {})))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: (0.5 * rng.normal(size=leaf.shape)).astype(np.float32), shapes)


def run(module, *inputs) -> tuple[np.ndarray, dict]:
    """Output, and the parameters in double precision; the gradient is held to be finite."""
    params = random_params(module, *inputs)

    @jax.jit
    def gradient_and_output(params):
        def loss(params):
            output = module.apply({"params": params}, *inputs)
            return (output**2).sum(), output

        return jax.grad(loss, has_aux=True)(params)

    grads, output = gradient_and_output(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    return np.asarray(output), jax.tree.map(np.float64, params)


def linear(x: np.ndarray, params: dict) -> np.ndarray:
    return x @ params["kernel"] + params.get("bias", 0)


@pytest.fixture(scope="module")
def vectors() -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(size=(VECTORS, ROWS, WIDTH)).astype(np.float32))


@pytest.fixture(scope="module")
def tokens() -> tuple[np.ndarray, np.ndarray]:
    """Tokens, and a mask of random lengths."""
    rng = np.random.default_rng(2)
    mask = (np.arange(TOKENS) < np.array([[6], [1], [4], [2], [5]])).astype(np.int32)
    return rng.normal(size=(ROWS, TOKENS, WIDTH)).astype(np.float32), mask


@pytest.mark.parametrize("how", ["first", "last", "mean"])
def test_pools(tokens, how):
    x, mask = tokens
    found, params = run(Pooled(Pool("text", how, OUT, activation="tanh")), x, mask)
    pick = {"first": lambda row: row[0], "last": lambda row: row[-1], "mean": lambda row: row.mean(0)}[how]
    expected = np.stack([pick(row[keep > 0].astype(np.float64)) for row, keep in zip(x, mask, strict=True)])
    np.testing.assert_allclose(found, np.tanh(linear(expected, params["projection"])), **TOLERANCE)


def test_attention_is_a_weighted_sum(vectors):
    found, params = run(Combined(Combine("attention")), vectors)
    x = np.stack(vectors, 1).astype(np.float64)
    scores = linear(np.tanh(linear(x, params["hidden"])), params["score"])
    np.testing.assert_allclose(found, (softmax(scores, axis=1) * x).sum(1), **TOLERANCE)


def test_gates(vectors):
    found, params = run(Combined(Combine("gated", OUT)), vectors)
    joined = np.concatenate(vectors, -1).astype(np.float64)
    expected = sum(
        expit(joined @ params[f"gate_{i}"]["kernel"]) * np.tanh(x @ params[f"hidden_{i}"]["kernel"])
        for i, x in enumerate(vectors)
    )
    np.testing.assert_allclose(found, expected, **TOLERANCE)


def test_bilinear(vectors):
    found, params = run(Combined(Combine("bilinear", OUT, FACTORS)), vectors[:2])
    product = linear(vectors[0], params["projection_0"]) * linear(vectors[1], params["projection_1"])
    z = np.stack([product[:, FACTORS * i : FACTORS * (i + 1)].sum(1) for i in range(OUT)], 1)
    rooted = np.sign(z) * np.sqrt(np.abs(z))
    expected = rooted / np.linalg.norm(rooted, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=5e-6)


def test_bilinear_has_a_gradient_where_the_product_is_zero(vectors):
    module, zero = Combined(Combine("bilinear", OUT, FACTORS)), np.zeros_like(vectors[0])
    params = jax.tree.map(lambda leaf: 0 * leaf, random_params(module, [zero, zero]))
    grads = jax.grad(lambda params, x: module.apply({"params": params}, x).sum(), argnums=(0, 1))(params, [zero, zero])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("concat", lambda x: np.concatenate(x, -1)),
        ("sum", lambda x: np.sum(x, 0)),
        ("product", lambda x: np.prod(np.float64(x), 0)),
    ],
)
def test_without_parameters(vectors, how, expected):
    found, params = run(Combined(Combine(how)), vectors)
    assert not params
    np.testing.assert_allclose(found, expected(vectors), **TOLERANCE)


@pytest.mark.parametrize("weights", [(), (0.5, 0.2, 0.3)])
def test_late_logits_are_a_weighted_sum_of_each_vectors_own(vectors, weights):
    head = ClassHead(4, 6)
    found, params = run(LateLogits(head, weights), vectors)
    assert ("weights" in params) == (not weights)
    shares = weights or softmax(params["weights"])
    each = [
        ClassLogits(head).apply({"params": jax.tree.map(np.float32, params[f"vector_{i}"])}, x)
        for i, x in enumerate(vectors)
    ]
    expected = sum(w * np.float64(logits) for w, logits in zip(shares, each, strict=True))
    np.testing.assert_allclose(found, expected, **TOLERANCE)
