"""Sums over rows that lie on many devices: the numbers of one device, and no byte sent twice."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from vlfusion_jax.core.tree import num_bytes
from vlfusion_jax.parallel import rows as rows_module
from vlfusion_jax.parallel.loading import load_strategy
from vlfusion_jax.parallel.mesh import lines
from vlfusion_jax.parallel.rows import gathered, over_devices, own_copies, with_own_copy
from vlfusion_jax.plan.candidate import compile_step
from vlfusion_jax.plan.collectives import collectives
from vlfusion_jax.plan.hlo import parse
from vlfusion_jax.plan.least import least_bytes
from vlfusion_jax.train.setup import build

STRATEGIES = ("dp", "fsdp", "fsdp_tp:2", "tp_sp:2", "hybrid:2", "zero1")


@pytest.fixture(params=STRATEGIES)
def strategy(request):
    return load_strategy(request.param)


@pytest.mark.parametrize("logical", [("embed", "mlp"), ("mlp", "embed"), ("embed", "heads", "head_dim")])
def test_sum_over_rows(strategy, logical):
    rng = np.random.default_rng(0)
    sizes = {"embed": 16, "mlp": 24, "heads": 4, "head_dim": 6}
    shapes = [sizes[logical[0]], *(sizes[name] for name in logical[1:])]
    x, y = rng.normal(size=(24, 5, shapes[0])), rng.normal(size=(24, 5, *shapes[1:]))
    x, y = (jax.device_put(each.astype(np.float32), strategy.batch_sharding) for each in (x, y))

    def summed(x: jax.Array, y: jax.Array) -> jax.Array:
        return over_devices(*logical)(lambda x, y: jnp.einsum("bti,bt...->i...", x, y))(x, y)

    with strategy.activate():
        found = jax.jit(summed)(x, y)
    np.testing.assert_allclose(found, np.einsum("bti,bt...->i...", x, y), atol=1e-4)
    expected = strategy.of_optimizer().sharding(logical, found.shape, "gradient")
    if strategy.mesh.shape["tensor"] == 1:  # whose parts are the partitioner's
        assert found.sharding.shard_shape(found.shape) == expected.shard_shape(found.shape)


@pytest.mark.parametrize("sizes", [[4, 2], [2, 2, 2]])
@pytest.mark.parametrize("logical", [("embed", "mlp"), ("mlp", "embed")])
def test_lines_keep_the_order(monkeypatch, sizes, logical):
    monkeypatch.setattr(rows_module, "lines", lambda mesh, axis: sizes)
    strategy, rng = load_strategy("fsdp"), np.random.default_rng(2)
    x, y = rng.normal(size=(16, 24)).astype(np.float32), rng.normal(size=(16, 32)).astype(np.float32)
    with strategy.activate():
        found = jax.jit(lambda x, y: over_devices(*logical)(lambda x, y: x.T @ y)(x, y))(x, y)
        again = jax.jit(gathered(*logical))(found)
    np.testing.assert_allclose(found, x.T @ y, atol=1e-5)
    assert not found.is_fully_replicated
    np.testing.assert_array_equal(again, found)
    assert again.is_fully_replicated


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("name", ["dp", "fsdp", "fsdp_tp:2", "zero1"])
def test_sums_in_the_dtype_of_the_computation(name, dtype):
    strategy, rng = load_strategy(name), np.random.default_rng(3)
    x, y = (rng.normal(size=(16, size)).astype(dtype) for size in (24, 32))
    with strategy.activate():
        found = jax.jit(lambda x, y: over_devices("embed", "mlp")(lambda x, y: x.T @ y)(x, y))(x, y)
    assert found.dtype == dtype
    np.testing.assert_allclose(
        found.astype(np.float32),
        x.astype(np.float32).T @ y.astype(np.float32),
        atol=0.1 if dtype == jnp.bfloat16 else 1e-5,
    )


def tied(table: jax.Array, ids: jax.Array, x: jax.Array) -> jax.Array:
    """Looks rows up and multiplies with all, as a language model does."""
    copies = own_copies(table, "vocab", "embed")
    rows = with_own_copy(lambda own, ids: own[ids])(copies, ids)
    products = with_own_copy(lambda own, x: jnp.einsum("btd,vd->btv", x, own))(copies, x + rows)
    return jnp.sin(products).sum()


@pytest.mark.parametrize("rows", [16, 15])
def test_gradient_of_a_table_used_twice(strategy, rows):
    rng = np.random.default_rng(1)
    table, x = rng.normal(size=(40, 16)).astype(np.float32), rng.normal(size=(rows, 3, 16)).astype(np.float32)
    ids = rng.integers(40, size=(rows, 3))
    expected = jax.grad(lambda t: jnp.sin(jnp.einsum("btd,vd->btv", x + t[ids], t)).sum())(table)
    with strategy.activate():
        found = jax.jit(jax.grad(tied))(
            jax.device_put(table, strategy.sharding(("vocab", "embed"), table.shape, "table")), ids, x
        )
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("sharding", "kinds", "limit"),
    [
        # A sum is a scatter and a gather. Of fsdp: two gathers of the parameters, one scatter of their gradients.
        ("dp", {"all-reduce": 2}, 1.05),
        ("fsdp", {"all-gather": 2, "reduce-scatter": 1}, 1.15),
    ],
)
def test_bytes_are_near_the_least(small_config, small_vocabulary, sharding, kinds, limit):
    tasks = {"tasks__vqa__weight": 0.0}  # whose texts, of another length, take another pass over the parameters
    config = small_config(model__width=64, model__mlp_width=256, model__heads=4, sharding=sharding, **tasks)
    run = build(config, small_vocabulary, jax.devices())
    parameters = sum(map(num_bytes, jax.tree.leaves(run.abstract_state.params)))
    found = collectives(parse(compile_step(run)[0].as_text()), run.strategy.mesh.shape)
    least = least_bytes(run)
    assert least == pytest.approx(sum(kinds.values()) * parameters * 7 / 8, rel=0.02)
    sent = {kind: sum(each.sent_bytes for each in found if each.kind == kind) for kind in {e.kind for e in found}}
    assert 0.9 * least < sum(sent.values()) <= limit * least, sent
    assert sum(sent[kind] for kind in kinds) > 0.9 * sum(sent.values()), sent


def on_torus(places: list[tuple[int, int, int]]) -> Mesh:
    devices = np.empty(len(places), object)
    devices[:] = [SimpleNamespace(platform="tpu", coords=place, slice_index=0) for place in places]
    return SimpleNamespace(devices=devices.reshape(1, -1), axis_names=("data", "fsdp"), shape={"fsdp": len(places)})


def test_lines_of_a_torus():
    row_by_row = [(x, y, 0) for x in range(4) for y in range(2)]
    assert lines(on_torus(row_by_row), "fsdp") == [4, 2]
    assert lines(on_torus([(x, y, z) for z in range(2) for x in range(3) for y in range(4)]), "fsdp") == [2, 3, 4]
    ring = [(x, 0, 0) for x in range(4)] + [(x, 1, 0) for x in reversed(range(4))]
    assert lines(on_torus(ring), "fsdp") == [8]
    assert lines(load_strategy("fsdp").mesh, "fsdp") == [8]
