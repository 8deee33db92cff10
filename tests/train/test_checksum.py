import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from vlfusion_jax.train.checksum import checksums


def reference(array):
    words = np.ascontiguousarray(array).reshape(-1).view({1: np.uint8, 2: np.uint16, 4: np.uint32}[array.itemsize])
    return sum(int(word) * (2 * i + 1) for i, word in enumerate(words)) % 2**32


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.int32, jnp.uint8, jnp.bool_])
def test_equals_the_definition(dtype):
    array = np.asarray(jnp.asarray(np.random.default_rng(0).normal(size=(3, 5, 7)) * 100).astype(dtype))
    assert checksums({"a": jnp.asarray(array), "b": jnp.asarray(array[0, 0, 0])}) == {
        "a": reference(array),
        "b": reference(array[0, 0, 0]),
    }


def test_is_the_same_on_every_mesh():
    array = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    mesh = jax.make_mesh((4, 2), ("x", "y"), (AxisType.Auto,) * 2)
    for spec in (P(), P("x"), P("x", "y"), P(None, ("x", "y"))):
        assert checksums([jax.device_put(array, NamedSharding(mesh, spec))]) == {"0": reference(array)}


def test_every_single_changed_byte_shows():
    array = np.random.default_rng(0).normal(size=12).astype(np.float32)
    before = checksums([jnp.asarray(array)])
    changed = []
    for byte in range(array.nbytes):
        copy = array.copy()
        copy.view(np.uint8)[byte] ^= 0x10
        changed.append(checksums([jnp.asarray(copy)]) != before)
    assert all(changed)
    assert checksums([jnp.asarray(array[::-1].copy())]) != before


@pytest.mark.parametrize("limit", [1, 50, 100, 10**6])
def test_is_the_same_in_parts_of_any_size(monkeypatch, limit):
    rng = np.random.default_rng(0)
    tree = {
        name: jnp.asarray(rng.normal(size=size).astype(np.float32))
        for name, size in zip("abcd", (3, 20, 5, 4), strict=True)
    }
    monkeypatch.setattr("vlfusion_jax.train.checksum._PART_BYTES", limit)
    assert checksums(tree) == {name: reference(np.asarray(leaf)) for name, leaf in tree.items()}
