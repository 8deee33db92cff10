"""Rows over eight devices of one host; those of several are in tests/distributed."""

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vlfusion_jax.data.global_array import local_rows, to_global


def test_rows_keep_their_order_over_devices():
    mesh = jax.make_mesh((4, 2), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)
    sharding = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    batch = {"image": np.arange(16 * 3, dtype=np.uint8).reshape(16, 3), "question/kind": np.arange(32, dtype=np.int32)}
    arrays = to_global(batch, sharding)
    for key, array in arrays.items():
        assert array.sharding == sharding
        assert array.dtype == batch[key].dtype
        np.testing.assert_array_equal(array, batch[key])
        rows = len(batch[key]) // 8
        for number, device in enumerate(mesh.devices.flat):
            (shard,) = [shard for shard in array.addressable_shards if shard.device == device]
            np.testing.assert_array_equal(shard.data, batch[key][number * rows : (number + 1) * rows])


def test_devices_that_hold_copies_get_the_same_rows():
    mesh = jax.make_mesh((2, 4), ("fsdp", "tensor"), axis_types=(AxisType.Auto,) * 2)
    sharding = NamedSharding(mesh, PartitionSpec(("fsdp",)))
    np.testing.assert_array_equal(local_rows(sharding, 6), np.arange(6))
    values = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    array = to_global({"x": values}, sharding)["x"]
    np.testing.assert_array_equal(array, values)
    for shard in array.addressable_shards:
        (row,), _ = np.nonzero(mesh.devices == shard.device)
        np.testing.assert_array_equal(shard.data, values[3 * row : 3 * row + 3])
