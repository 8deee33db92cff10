"""From a compiled training step to what it takes: memory, time, what waits for the network."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from vlfusion_jax.core.hardware import DEVICES, Device, peak_flops
from vlfusion_jax.parallel.mesh import slice_of
from vlfusion_jax.plan.collectives import SLICES, Collective, collectives
from vlfusion_jax.plan.gpus import bandwidth_of_gpus
from vlfusion_jax.plan.hlo import parse
from vlfusion_jax.plan.kept import Kept
from vlfusion_jax.plan.kernels import UNPRICED, Kernel, kernels, program_flops
from vlfusion_jax.plan.least import least_bytes
from vlfusion_jax.plan.roofline import kernel_seconds, roofline
from vlfusion_jax.train.setup import Run


@dataclass(frozen=True)
class Traffic:
    """Collectives of one kind over the same axes, of one call of a program.

    Attributes:
      kind, axes: see `collectives.Collective`.
      count: how many run.
      sent_bytes: by each device.
      asynchronous: share of the bytes that move while work goes on.
      seconds: that the links need.
    """

    kind: str
    axes: tuple[str, ...]
    count: int
    sent_bytes: float
    asynchronous: float
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """What one update takes, on each device.

    Attributes:
      argument_bytes: parameters, optimizer state and batch.
      temporary_bytes: beside them, while the step runs.
      memory_bytes: all of it, results that take no argument's place and the program included.
      capacity_bytes: of the device's memory.
      model_flops: of the model's arithmetic, without what is computed twice.
      program_flops: of all products in the compiled program.
      compute_seconds: of all work but sending.
      compute_by: `cycles`, the compiler's own, calibrated by `plan.known`, or where it gives none `roofline`, a bound;
        see `plan.roofline`.
      cycle_seconds: the compiler's cycles as it gives them; None where it gives none.
      roofline_seconds: that bound, whatever `compute_by` is; None where the device's memory bandwidth is not known.
      unpriced: instructions of which nothing is known, such as those for another core of the chip; the time leaves
        them out. By a roofline, calls of which not the FLOPs but the bytes alone are known.
      traffic: what is sent.
      least_bytes: that the strategy by itself asks each device to send; see `plan.least`.
      exposed_seconds: of sending, that no work hides.
      step_seconds: of one update.
      examples_per_second: images, of all devices.
      mfu: model FLOPs a second, as a share of the peak; None where the dtype of the computation has no known one.
    """

    argument_bytes: int
    temporary_bytes: int
    memory_bytes: int
    capacity_bytes: float
    model_flops: float
    program_flops: float
    compute_seconds: float
    compute_by: str
    cycle_seconds: float | None
    roofline_seconds: float | None
    unpriced: tuple[str, ...]
    traffic: tuple[Traffic, ...]
    least_bytes: float
    exposed_seconds: float
    step_seconds: float
    examples_per_second: float
    mfu: float | None


def estimate(run: Run, compiled: jax.stages.Compiled | Kept) -> Estimate:
    """Reads a compiled training step.

    A step is predicted to take its compute time, or that of the links which work beside it where that is longer, and
    after it the time of what is sent while work waits.

    Raises:
      ValueError: too little is known of the device.
    """
    mesh = run.strategy.mesh
    device = known_device(mesh)
    program = parse(compiled.as_text())
    if loops := program.unknown_loops():
        raise ValueError(f"no estimate: how often these loops run is not known: {', '.join(loops)}")
    found = kernels(program)
    compute, compute_by, unpriced = compute_time(found, device)
    slices = _slices(mesh)
    traffic = summarise(collectives(program, mesh.shape, slices), mesh, device)
    beside = sum(each.seconds * each.asynchronous for each in traffic)
    alone = sum(each.seconds * (1 - each.asynchronous) for each in traffic)
    step = max(compute, beside) + alone
    memory = compiled.memory_analysis()
    flops = run.flops_per_step / mesh.size
    peak = peak_flops(mesh.devices.flat[0].device_kind, run.config.precision.compute)
    return Estimate(
        argument_bytes=memory.argument_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        memory_bytes=needed_bytes(compiled),
        capacity_bytes=device.memory_bytes,
        model_flops=flops,
        program_flops=program_flops(program),
        compute_seconds=compute,
        compute_by=compute_by,
        cycle_seconds=cycle_seconds(found, device),
        roofline_seconds=roofline(found, device) if device.memory_bandwidth else None,
        unpriced=unpriced,
        traffic=traffic,
        least_bytes=least_bytes(run),
        exposed_seconds=step - compute,
        step_seconds=step,
        examples_per_second=run.config.train.batch_size / step,
        mfu=flops / step / peak if peak else None,
    )


def known_device(mesh: jax.sharding.Mesh) -> Device:
    """Figures of a mesh's devices.

    Raises:
      ValueError: too few of them are known for an estimate.
    """
    kind = mesh.devices.flat[0].device_kind
    device = DEVICES.get(kind, Device(0))
    if not (device.memory_bytes and (device.nvlink_bandwidth or (device.port_bandwidth and device.ring))):
        raise ValueError(f"no estimate for {kind}: its memory or its links are not known")
    if _slices(mesh) > 1 and device.slice_bandwidth is None:
        raise ValueError(f"no estimate: the network between slices of {kind} is not published; plan for one slice")
    return device


def _slices(mesh: jax.sharding.Mesh) -> int:
    return len({slice_of(each) for each in mesh.devices.flat})


def needed_bytes(compiled: jax.stages.Compiled | Kept) -> int:
    """Of a device, that the compiler sets aside: arguments, results that take no argument's place, and the rest."""
    memory = compiled.memory_analysis()
    results = memory.output_size_in_bytes - memory.alias_size_in_bytes
    others = memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
    return memory.argument_size_in_bytes + results + others


def compute_time(found: Sequence[Kernel], device: Device) -> tuple[float, str, tuple[str, ...]]:
    """Seconds of all work but sending, what they come from, and what they leave out; see `Estimate`.

    Args:
      found: kernels of a compiled program.
      device: that it is compiled for.

    Raises:
      ValueError: the compiler gave no cycles, or their length is not known, and neither is the memory's bandwidth.
    """
    if cycle_seconds(found, device) is None:
        return roofline(found, device), "roofline", tuple(each.name for each in found if each.unknown)
    unpriced = tuple(each.name for each in found if each.cycles == UNPRICED)
    return sum(each.times * _calibrated_seconds(each, device) for each in found), "cycles", unpriced


def _calibrated_seconds(kernel: Kernel, device: Device) -> float:
    """Of one run; see `plan.known` for what the compiler's cycles are worth.

    Where nothing is multiplied it counts too many, by the factor that a stream of 16-bit numbers shows. No kernel is
    faster than its roofline. What has no cycles of its own, such as a scatter, takes its roofline; copies that run
    beside others take nothing.
    """
    if kernel.cycles == UNPRICED or (kernel.cycles is None and kernel.beside):
        return 0.0
    seconds = (kernel.cycles or 0) / device.clock
    if device.memory_bandwidth is None:
        return seconds
    if device.counted_bandwidth and not kernel.flops:
        seconds *= device.counted_bandwidth / device.memory_bandwidth
    return max(seconds, kernel_seconds(kernel, device))


def cycle_seconds(found: Sequence[Kernel], device: Device) -> float | None:
    """Seconds of the cycles that the compiler expects; None where it gives none, or their length is not known."""
    cycles = sum(each.times * each.cycles for each in found if each.cycles not in (None, UNPRICED))
    return cycles / device.clock if device.clock and cycles else None


def summarise(found: Sequence[Collective], mesh: jax.sharding.Mesh, device: Device) -> tuple[Traffic, ...]:
    """One line for each kind and axes, most bytes first."""
    count, sent, asynchronous, seconds = Counter(), Counter(), Counter(), Counter()
    for each in found:
        key = (each.kind, each.axes)
        count[key] += each.times
        sent[key] += each.sent_bytes
        asynchronous[key] += each.sent_bytes * each.asynchronous
        seconds[key] += each.sent_bytes / bandwidth(*key, mesh, device, each.group)
    return tuple(
        Traffic(
            kind, axes, count[kind, axes], sent_bytes, asynchronous[kind, axes] / max(1.0, sent_bytes),
            seconds[kind, axes],
        )
        for (kind, axes), sent_bytes in sent.most_common()
    )  # fmt: skip


def bandwidth(
    kind: str, axes: tuple[str, ...], mesh: jax.sharding.Mesh, device: Device, group: tuple[int, ...] = ()
) -> float:
    """Bytes/s that a device can send to the others of its group, nobody else sending.

    The group are the devices at `group` of the mesh; without it, or where pairs exchange, all along `axes`.

    GPUs: see `gpus.bandwidth_of_gpus`. TPUs:
    Along every dim of the slice in which the group's devices lie: by two ports where the dim closes to a ring, as if by
    one where it is a line, whose links all of one half passes through. What goes to one neighbour takes one port. Dims
    close where all are multiples of what the generation asks for; a slice that the mesh has a part of counts as it is.
    Of several slices, those of one; between them, the chip's share of the data centre's network.

    The device is one that `known_device` knows.
    """
    if axes == (SLICES,):
        return device.slice_bandwidth
    index = tuple(slice(None) if axis in axes else 0 for axis in mesh.axis_names)
    devices = np.ravel(mesh.devices[index])
    if group and kind != "collective-permute":
        devices = mesh.devices.ravel()[list(group)]
    if device.nvlink_bandwidth:
        return bandwidth_of_gpus(kind, devices, device)
    places = [each.coords for each in devices if slice_of(each) == slice_of(devices[0])]
    sizes = [len(set(along)) for along in zip(*places, strict=True)]
    slice_ = [each.coords for each in mesh.devices.flat if slice_of(each) == slice_of(devices[0])]
    whole = [len(set(along)) for along in zip(*slice_, strict=True)][: device.dims]
    closed = all(size % device.ring == 0 for size in whole)
    # Of a ring, the group has all, or a line in it.
    ports = sum(2 if closed and size % device.ring == 0 else 1 for size in sizes if size > 1)
    return (1 if kind == "collective-permute" else max(1, ports)) * device.port_bandwidth
