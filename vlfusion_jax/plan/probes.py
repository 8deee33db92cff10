"""What this machine's cores do at best, measured beside programs: the roofline of simulated devices.

Each probe runs on all devices at once, as the programs do that it is held against: they share the cores.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from vlfusion_jax.core.hardware import Device
from vlfusion_jax.core.precision import COMPUTE_DTYPES
from vlfusion_jax.plan.collectives import collectives
from vlfusion_jax.plan.hlo import parse
from vlfusion_jax.plan.kernels import kernels
from vlfusion_jax.plan.roofline import roofline
from vlfusion_jax.plan.timing import Timing
from vlfusion_jax.train.setup import Run

_SIZE = 1024  # of the matrices of a product
_NUMBERS = 2**23  # of an array that is updated, more than caches hold; and of one that is summed
PRODUCT, STREAM, SUM = "a product", "an update in place", "a sum over devices"


@dataclass(frozen=True)
class Machine:
    """Rates of each device, while all others work too.

    Attributes:
      product: FLOP/s.
      stream: bytes read and written, a second.
      exchange: bytes sent to other devices, a second; None where there is one alone.
      dtype: of the product.
      devices: how many there are.
    """

    product: float
    stream: float
    exchange: float | None
    dtype: str
    devices: int

    def step_seconds(self, run: Run, compiled: jax.stages.Compiled) -> float:
        """The least time of an update: by the roofline of `product` and `stream`, and after it what is sent.

        Raises:
          ValueError: it has a loop of unknown length.
        """
        program = parse(compiled.as_text())
        if loops := program.unknown_loops():
            raise ValueError(f"how often these loops run is not known: {', '.join(loops)}")
        sent = sum(each.sent_bytes for each in collectives(program, run.strategy.mesh.shape))
        work = roofline(kernels(program), Device(self.product, memory_bandwidth=self.stream))
        return work + (sent / self.exchange if sent else 0.0)

    def __str__(self) -> str:
        """One line to print below a table."""
        exchange = f", {SUM} sent {self.devices * self.exchange / 1e9:.1f} GB/s" if self.exchange else ""
        return (
            f"{self.devices} devices on these cores: {PRODUCT} of {_SIZE} x {_SIZE} in {self.dtype} ran at "
            f"{self.devices * self.product / 1e9:.0f} GFLOP/s, {STREAM} at {self.devices * self.stream / 1e9:.1f} GB/s"
            f"{exchange}, all devices together"
        )


def probes(devices: Sequence[jax.Device], dtype: str) -> dict[str, Callable[[], object]]:
    """{name: program that runs on all devices, and returns when it is done}."""
    mesh = Mesh(np.array(devices), ("device",))
    split, whole = NamedSharding(mesh, P("device")), NamedSharding(mesh, P())

    def made(*shape: int, dtype: str = "float32") -> jax.Array:
        return jax.block_until_ready(jax.jit(lambda: jnp.ones((mesh.size, *shape), dtype), out_shardings=split)())

    matrices, numbers = made(_SIZE, _SIZE, dtype=COMPUTE_DTYPES[dtype]), made(_NUMBERS)
    multiply = jax.jit(jnp.matmul, out_shardings=split)
    update = jax.jit(lambda x: x + 1, out_shardings=split, donate_argnums=0)
    add = jax.jit(lambda x: x.sum(0), out_shardings=whole)
    updated = [made(_NUMBERS)]

    def update_in_place() -> None:
        updated[0] = jax.block_until_ready(update(updated[0]))

    found = {
        PRODUCT: lambda: jax.block_until_ready(multiply(matrices, matrices)),
        STREAM: update_in_place,
    }
    return found | ({SUM: lambda: jax.block_until_ready(add(numbers))} if mesh.size > 1 else {})


def machine(times: Mapping[str, Timing], dtype: str, devices: int) -> Machine:
    """The rates, from the times of `probes`."""
    return Machine(
        product=2 * _SIZE**3 / times[PRODUCT].median,
        stream=2 * 4 * _NUMBERS / times[STREAM].median,
        exchange=2 * (devices - 1) / devices * 4 * _NUMBERS / times[SUM].median if SUM in times else None,
        dtype=dtype,
        devices=devices,
    )
