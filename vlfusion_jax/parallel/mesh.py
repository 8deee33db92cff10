"""The device mesh of a run. Built once; every sharding of the run refers to it."""

import itertools
import math

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError


def axis_sizes(requested: dict[str, int], num_devices: int, strategy: str) -> dict[str, int]:
    """Sizes of all mesh axes, the one given as -1 filled in so that their product is `num_devices`.

    Raises:
      UserError: for an unknown axis, a size below 1, more than one -1, or sizes that do not make `num_devices`.
    """
    unknown = set(requested) - set(names.MESH_AXES)
    if unknown:
        raise UserError(f"sharding {strategy!r}: unknown mesh axis {sorted(unknown)}; the axes are {names.MESH_AXES}.")
    sizes = {axis: requested.get(axis, 1) for axis in names.MESH_AXES}
    free = [axis for axis, size in sizes.items() if size == -1]
    if len(free) > 1 or any(size < 1 and size != -1 for size in sizes.values()):
        raise UserError(f"sharding {strategy!r}: mesh sizes {sizes} must be positive, with at most one -1.")
    fixed = math.prod(size for size in sizes.values() if size != -1)
    if free:
        sizes[free[0]] = num_devices // fixed
    if math.prod(sizes.values()) != num_devices:
        raise UserError(
            f"sharding {strategy!r}: mesh {requested} does not fit {num_devices} device(s); "
            f"the product of the axes must be {num_devices}."
        )
    return sizes


def make_mesh(sizes: dict[str, int], devices: list[jax.Device]) -> Mesh:
    """Mesh over `devices`, neighbours on the interconnect placed on the inner axes.

    Several slices of a TPU machine, which only the data centre's network joins, follow each other along the first axes.
    """
    shape = [sizes[axis] for axis in names.MESH_AXES]
    slices = sorted({slice_of(device) for device in devices})
    across, left = [], len(slices)
    for size in shape:
        across.append(math.gcd(size, left))
        left //= across[-1]
    within = [size // outer for size, outer in zip(shape, across, strict=True)]
    grids = [_grid(within, [device for device in devices if slice_of(device) == each]) for each in slices]
    # An axis counts through its slices, then through what it has of each.
    turned = [dim for pair in zip(range(len(shape)), range(len(shape), 2 * len(shape)), strict=True) for dim in pair]
    grid = np.stack(grids).reshape(*across, *within).transpose(turned).reshape(shape)
    return Mesh(grid, names.MESH_AXES, axis_types=(AxisType.Auto,) * len(names.MESH_AXES))


def _grid(shape: list[int], devices: list[jax.Device]) -> np.ndarray:
    """Devices of one slice, or of anything but TPUs, in this shape."""
    if max(shape) == len(devices) and devices[0].platform == "tpu":
        # Row by row, see `lines`; JAX would lay a single axis in a ring through all dims of the torus.
        return np.array(sorted(devices, key=lambda device: tuple(device.coords))).reshape(shape)
    return mesh_utils.create_device_mesh(shape, devices=devices, allow_split_physical_axes=True)


def lines(mesh: Mesh, axis: str) -> list[int]:
    """Sizes by which a mesh axis counts through the dims of a TPU's torus, the outermost first; else its size alone.

    An axis of 16 over 4 x 4 chips is [4, 4] where its devices come row by row.
    """
    devices = np.moveaxis(mesh.devices, mesh.axis_names.index(axis), 0).reshape(mesh.shape[axis], -1)[:, 0]
    if devices[0].platform != "tpu" or len({slice_of(device) for device in devices}) > 1:
        return [len(devices)]
    places = np.array([device.coords for device in devices]).T
    long = [along for along in places if len(set(along)) > 1]
    for order in itertools.permutations(long):
        sizes = [len(set(along)) for along in order]
        if math.prod(sizes) == len(devices):
            digits = np.unravel_index(range(len(devices)), sizes)
            if all(len(set(zip(*each, strict=True))) == len(set(each[0])) for each in zip(digits, order, strict=True)):
                return sizes
    return [len(devices)]


def slice_of(device: jax.Device) -> int:
    """Number of the TPU slice that a device is of; 0 for others (GPUs have their node's number there)."""
    return (getattr(device, "slice_index", 0) or 0) if device.platform == "tpu" else 0
