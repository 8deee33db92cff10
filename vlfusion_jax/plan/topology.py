"""Machines by name: `v5e:4x4`, `v5e-16`, `v5p-512`, `h100:8`. TPUs are described by libtpu, without any being there."""

import importlib.util
import math
import os
import re
from typing import Any

import jax
from jax.experimental import topologies

from vlfusion_jax.config.keys import nearest
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.plan.gpus import GPUS, NODE, describe_gpus, gpu_name

# Dims of the torus, and what the numbers in names such as v5p-512 count: `chips`, or their `cores`, two a chip
# (cloud.google.com/tpu/docs, pages of each version).
_TPUS = {"v4": (3, "cores"), "v5e": (2, "chips"), "v5p": (3, "cores"), "v6e": (2, "chips")}
_LARGEST_2D = 256  # chips of a pod


def describe(text: str, slices: int = 1) -> list[jax.Device]:
    """Devices of a machine, to compile for.

    Args:
      text: `GENERATION:SHAPE`, such as v5e:4x4 or v5p:4x4x4, the name of a slice, such as v5e-16 or v5p-128, or
        `GPU:COUNT`, such as h100:8.
      slices: how many such TPU slices, joined by the data centre's network.

    Raises:
      UserError: no such machine, or its compiler is missing.
    """
    name = topology_name(text, slices)
    if _kind(name) in GPUS:
        return describe_gpus(name)
    # libtpu would ask Google Cloud which machine this is, and wait; and it would let one process alone compile.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    # Of v4, one device a chip, as programs see it.
    settings: dict[str, Any] = {"chip_config_name": "megacore"} if name.startswith("v4:") else {}
    if slices > 1:
        settings["num_slices"] = slices
    if set(name.partition(":")[2]) == {"1", "x"}:
        settings["chips_per_host_bounds"] = [1, 1, 1]
    try:
        return list(topologies.get_topology_desc(topology_name=name, platform="tpu", **settings).devices)
    except Exception as error:
        if importlib.util.find_spec("libtpu") is None:
            raise UserError(
                "planning for a TPU needs its compiler: pip install libtpu (no TPU has to be there)."
            ) from error
        raise UserError(
            f"--topology={text}: libtpu knows no such machine: {str(error).splitlines()[0]:.300}"
        ) from error


def topology_name(text: str, slices: int = 1) -> str:
    """`GENERATION:SHAPE` of a machine given so, or by the name of its slice; `GPU:COUNT` of one of GPUs.

    Raises:
      UserError: no such generation or GPU, no such slice, or slices of GPUs.
    """
    if _kind(text) in GPUS:
        if slices > 1:
            raise UserError(f"--num_slices={slices}: slices are of TPUs; of GPUs give the number, as {_kind(text)}:64.")
        return gpu_name(text)
    found = re.fullmatch(r"(v\d\w*?)(?::(\d+(?:x\d+)+)|-(\d+))", text)
    known = ", ".join(f"{name}:{'x'.join('4' * dims)}" for name, (dims, _) in _TPUS.items())
    if not found or found.group(1) not in _TPUS:
        near = "" if _kind(text) in _TPUS else nearest(_kind(text), [*_TPUS, *GPUS])
        gpus = ", ".join(f"{kind}:{NODE}" for kind in GPUS)
        raise UserError(f"--topology={text!r}: no such machine.{near} Name one as {known}, v5e-16, {gpus}.")
    generation, shape, count = found.groups()
    dims, unit = _TPUS[generation]
    if shape:
        if shape.count("x") + 1 != dims:
            raise UserError(f"--topology={text}: {generation} is a torus of {dims} dims; name one as {known}.")
        return f"{generation}:{shape}"
    chips = int(count) // 2 if unit == "cores" else int(count)
    odd = unit == "cores" and int(count) % 2
    if odd or chips in (0, 2) or chips & (chips - 1) or (dims == 2 and chips > _LARGEST_2D):
        raise UserError(f"--topology={text}: no such slice; {generation}-N counts {unit}. Give its shape: {known}.")
    return f"{generation}:{'x'.join(map(str, _shape(chips, dims)))}"


def device_count(name: str) -> int:
    """Devices of a machine of which `topology_name` gives this name: chips, or GPUs."""
    return math.prod(int(size) for size in name.partition(":")[2].split("x"))


def _kind(text: str) -> str:
    """Of the devices of a machine: what its name begins with."""
    return re.split("[:-]", text)[0]


def _shape(chips: int, dims: int) -> list[int]:
    """Of a slice of a power of two of chips: as even as it goes, the last dims the longest."""
    twos = round(math.log2(chips))
    shape = [2 ** (twos // dims + (i >= dims - twos % dims)) for i in range(dims)]
    return shape if chips > 4 else shape[::-1]  # the smallest 3-D slice is 2x2x1
