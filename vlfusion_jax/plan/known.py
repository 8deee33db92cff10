"""Programs whose time on a device follows from its published rates: what a plan's compute times are held against.

Each is large, and does one thing: it takes as long as its arithmetic at the peak rate, in tiles that are computed
whole, or as the bytes that it has to read and write at the bandwidth of the main memory, whichever is longer.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from vlfusion_jax.core.arithmetic import round_up
from vlfusion_jax.core.hardware import DEVICES, Device
from vlfusion_jax.plan.candidate import compile_for, lower_for
from vlfusion_jax.plan.estimate import compute_time, cycle_seconds
from vlfusion_jax.plan.hlo import parse
from vlfusion_jax.plan.kernels import kernels
from vlfusion_jax.plan.roofline import roofline


@dataclass(frozen=True)
class Known:
    """A program.

    Attributes:
      name: what it computes.
      function: of arrays.
      shapes, dtype: of its arguments.
      bytes: that it reads and writes.
      flops: of its products, whole tiles.
    """

    name: str
    function: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    bytes: float
    flops: float = 0.0
    dtype: str = "bfloat16"

    def seconds(self, device: Device) -> float:
        """That a device needs."""
        return max(self.flops / device.peak_bf16_flops, self.bytes / device.memory_bandwidth)


@dataclass(frozen=True)
class Calibration:
    """A known time beside those that a plan would give.

    Attributes:
      name: of the program.
      known, planned, cycles, roofline: seconds; those of the plan see `estimate.Estimate`.
    """

    name: str
    known: float
    planned: float
    cycles: float | None
    roofline: float


def calibrate(device: jax.Device) -> Iterator[Calibration]:
    """Compiles every known program for a device, which need not be there.

    Raises:
      ValueError: too little is known of the device.
    """
    rates = DEVICES.get(device.device_kind, Device(0))
    if not (rates.memory_bandwidth and rates.peak_bf16_flops):
        raise ValueError(f"no times are known for {device.device_kind}: its peak or its memory's bandwidth is not")
    for each in programs(rates.tile):
        arguments = [
            jax.ShapeDtypeStruct(shape, each.dtype, sharding=SingleDeviceSharding(device)) for shape in each.shapes
        ]
        lowered = lower_for(device, jax.jit(each.function).trace(*arguments))
        found = kernels(parse(compile_for(device, lowered).as_text()))
        planned, _, _ = compute_time(found, rates)
        yield Calibration(each.name, each.seconds(rates), planned, cycle_seconds(found, rates), roofline(found, rates))


def programs(tile: int) -> Sequence[Known]:
    """Large products, products that fit tiles badly, and what moves bytes alone.

    Args:
      tile: see `Device`.
    """
    rows, wide = (2**20, 1024), (2**19, 1024)
    return (
        _product("product of 8192 x 8192 x 8192", tile, 1, 8192, 8192, 8192),
        _product("product of 6144 x 768 x 3072, a layer's", tile, 1, 6144, 768, 3072),
        _product("64 products of 1025 x 1025 x 1025", tile, 64, 1025, 1025, 1025),
        _product("384 products of 185 x 64 x 185, scores", tile, 384, 185, 64, 185),
        _stream("2 GiB read, changed and written", lambda x: x * 2 + 1, rows, 2),
        _stream("2 GiB of f32 read, changed and written", lambda x: x * 2 + 1, wide, 2, "float32"),
        Known("Adam's update of 2^27 f32 numbers", _adam, ((2**17, 1024),) * 4, 7 * 4 * 2.0**27, dtype="float32"),
        _stream("2 GiB summed along rows", lambda x: x.sum(-1, dtype=jnp.float32), rows, 1),
        _stream("2 GiB turned round", lambda x: x.T.copy(), (2**15, 2**15), 2),
    )


def _adam(gradient: jax.Array, value: jax.Array, mean: jax.Array, square: jax.Array) -> tuple[jax.Array, ...]:
    """Kingma and Ba 2015, algorithm 1, as far as arrays go."""
    mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
    return value - 1e-3 * mean / (jnp.sqrt(square) + 1e-8), mean, square


def _product(name: str, tile: int, batch: int, rows: int, depth: int, columns: int) -> Known:
    flops = 2.0 * batch * rows * round_up(depth, tile) * round_up(columns, tile)
    moved = 2.0 * batch * (rows * depth + depth * columns + rows * columns)
    return Known(name, jnp.matmul, ((batch, rows, depth), (batch, depth, columns)), moved, flops)


def _stream(
    name: str, function: Callable[[jax.Array], jax.Array], shape: tuple[int, ...], times: int, dtype: str = "bfloat16"
) -> Known:
    return Known(name, function, (shape,), jnp.dtype(dtype).itemsize * float(times * math.prod(shape)), dtype=dtype)
