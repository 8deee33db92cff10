"""Scanned or unrolled, recomputed or not: the same numbers."""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlfusion_jax.layers.block import BlockSpec, Stage
from vlfusion_jax.layers.stack import Stack

WIDTH, LENGTH = 12, 2
SPEC = BlockSpec(3, 20, "pre", 1e-6, "gelu", dropout=0.2, attention_dropout=0.2)
LAYOUTS = {
    "joint": Stage("joint", ("joint",), (SPEC,), ("self", "mlp"), LENGTH),
    "two": Stage("two", ("text", "image"), (SPEC,), ("cross", "self", "mlp"), LENGTH),
}
TOKENS = {"joint": 6, "text": 4, "image": 5}


def unstack(params):
    return {f"layer_{i}": jax.tree.map(lambda leaf, i=i: leaf[i], params["layers"]) for i in range(LENGTH)}


def stack(layers):
    return {"layers": jax.tree.map(lambda *leaves: jnp.stack(leaves), *(layers[f"layer_{i}"] for i in range(LENGTH)))}


@pytest.fixture(scope="module")
def results(random_params) -> Callable:
    """Function (layout, scan, remat, train) -> (outputs, captured values, stacked gradients of the parameters)."""
    rng = np.random.default_rng(0)
    tokens = {name: rng.normal(size=(2, n, WIDTH)).astype(np.float32) for name, n in TOKENS.items()}

    @cache
    def run(layout: str, scan: bool, remat: str, train: bool):
        streams = LAYOUTS[layout].streams
        x = {name: tokens[name] for name in streams}
        masks = {name: np.ones((2, 1), np.int32) * (np.arange(TOKENS[name]) < TOKENS[name] - 1) for name in streams}
        first = Stack(LAYOUTS[layout], scan=True, remat="none", train=False, capture=False)
        params = random_params(first, x, masks)
        assert all(leaf.shape[0] == LENGTH for leaf in jax.tree.leaves(params))
        module = Stack(LAYOUTS[layout], scan=scan, remat=remat, train=train, capture=not train)

        @jax.jit
        def differentiate(params):
            def loss(params):
                y, captured = module.apply({"params": params}, x, masks, rngs={"dropout": jax.random.key(3)})
                return sum((jnp.sin(v) * v).sum() for v in y.values()), (y, captured)

            return jax.grad(loss, has_aux=True)(params)

        grads, (y, captured) = differentiate(params if scan else unstack(params))
        return y, captured, grads if scan else stack(grads)

    return run


def compare(ours, expected):
    for one, other in zip(jax.tree.leaves(ours[:2]), jax.tree.leaves(expected[:2]), strict=True):
        np.testing.assert_allclose(one, other, atol=5e-6)
    scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected[2]))
    for one, other in zip(jax.tree.leaves(ours[2]), jax.tree.leaves(expected[2]), strict=True):
        np.testing.assert_allclose(one / scale, other / scale, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_scanned_equals_unrolled(results, layout):
    unrolled = results(layout, False, "none", False)
    assert all(hidden.shape[0] == LENGTH for hidden in unrolled[1]["hidden"].values())
    compare(unrolled, results(layout, True, "none", False))


@pytest.mark.parametrize(
    ("scan", "remat"),
    [
        (True, "full"),
        (True, "dots"),
        (True, "dots_redrawn"),
        (True, "dots_no_batch"),
        (True, "names"),
        (True, "offload"),
        (False, "full"),
        (False, "dots"),
    ],
)
def test_recomputation_changes_nothing(results, scan, remat):
    compare(results("joint", scan, remat, False), results("joint", scan, "none", False))


def test_recomputation_drops_the_same_values(results):
    dropped = results("joint", True, "none", True)
    for remat in ("full", "dots", "dots_redrawn", "dots_no_batch"):
        compare(results("joint", True, remat, True), dropped)
    assert np.abs(dropped[0]["joint"] - results("joint", True, "none", False)[0]["joint"]).max() > 0.01


def test_the_more_is_computed_again_the_less_is_kept():
    x = {"joint": np.ones((2, 6, WIDTH), np.float32)}
    masks = {"joint": np.ones((2, 6), np.int32)}

    def kept(remat: str) -> int:
        module = Stack(LAYOUTS["joint"], scan=True, remat=remat, train=True, capture=False)
        rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        variables = module.init(rngs, x, masks)
        _, backward = jax.vjp(lambda v: module.apply(v, x, masks, rngs={"dropout": jax.random.key(2)})[0], variables)
        return sum(leaf.nbytes for leaf in jax.tree.leaves(backward))

    kept_bytes = [kept(remat) for remat in ("full", "names", "dots_redrawn", "dots", "none")]
    assert kept_bytes == sorted(set(kept_bytes))


@pytest.mark.parametrize("scan", [True, False])
def test_no_layers_change_nothing(scan):
    x = {"joint": np.ones((2, 3, WIDTH), np.float32)}
    module = Stack(Stage("none", ("joint",), (SPEC,), ("self", "mlp"), 0), scan, "none", train=False, capture=True)
    (out, captured), variables = module.init_with_output(jax.random.key(0), x, {"joint": np.ones((2, 3), np.int32)})
    assert out is x
    assert not captured
    assert not variables
