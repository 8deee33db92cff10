"""What a compiled program sends between devices: kind, bytes, mesh axes, how often, and whether it waits."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vlfusion_jax.plan.hlo import Instruction, Program, root_of, shape_bytes

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "ragged-all-to-all", "collective-permute",
         "collective-broadcast")  # fmt: skip
SLICES = "slices"  # an axis beside those of the mesh: the same chip of each slice of a TPU machine


@dataclass(frozen=True)
class Collective:
    """One instruction by which devices exchange numbers.

    Attributes:
      kind: one of `KINDS`.
      axes: mesh axes along which devices exchange, in the mesh's order.
      devices: number of those that exchange with each other.
      operand_bytes: that each of them puts in.
      times: how often it runs in one call of the program.
      asynchronous: whether it begins and ends in different places of the program.
      group: positions in the mesh, counted row by row, of the first of the groups that exchange; empty between slices.
    """

    kind: str
    axes: tuple[str, ...]
    devices: int
    operand_bytes: int
    times: int
    asynchronous: bool
    group: tuple[int, ...] = field(default=(), compare=False)

    @property
    def sent_bytes(self) -> float:
        """Bytes that each device sends in one call of the program, by the algorithm that sends least.

        Of n devices with b bytes each: (n - 1) b where all are gathered, (n - 1) / n · b where they are scattered or
        change places, both one after the other for a sum that all receive (Patarasuk and Yuan 2009, "Bandwidth optimal
        all-reduce algorithms for clusters of workstations"), b where each goes to one other.
        """
        others = self.devices - 1
        share = {
            "all-gather": others,
            "all-reduce": 2 * others / self.devices,
            "reduce-scatter": others / self.devices,
            "all-to-all": others / self.devices,
            "ragged-all-to-all": others / self.devices,
        }
        return self.times * self.operand_bytes * share.get(self.kind, 1.0)


def collectives(program: Program, mesh: Mapping[str, int], slices: int = 1) -> list[Collective]:
    """All of a program.

    Args:
      program: compiled for the devices of a mesh.
      mesh: {axis: size}, in the mesh's order.
      slices: TPU slices that the mesh spans.

    Raises:
      ValueError: which devices exchange is written in a way that is not known.
    """
    found = [_collective(program, *each, mesh) for each in _found(program)]
    found += [_between_slices(program, *each, slices) for each in program.executed() if each[1].opcode == "send"]
    return [each for each in found if each.devices > 1]


def _found(program: Program) -> Iterator[tuple[str, Instruction, str, int]]:
    """(computation, instruction, kind, times), each collective once, in whatever form it stands."""
    seen = set()
    for computation, instruction, times in program.executed():
        kind = instruction.opcode.removesuffix("-start")
        if kind not in KINDS:
            continue
        # Compiled for TPU, what runs beside products is repeated in each of them, under one chain.
        if "async_collective_fusion_config" in instruction.attributes:
            chain = re.search(r'chain_id="(\d+)"', instruction.attributes)
            chain = chain or re.search(r"channel_id=(\d+)", instruction.attributes)
            same = (chain.group() if chain else instruction.name, times)
            if same in seen:
                continue
            seen.add(same)
        yield computation, instruction, kind, times


def _collective(
    program: Program, computation: str, instruction: Instruction, kind: str, times: int, mesh: Mapping[str, int]
) -> Collective:
    here = program.computations[computation]
    # A sum of which each device takes its part, in one kernel of the TPU.
    if computation.startswith("all-reduce-scatter") and root_of(here).opcode == "dynamic-slice":
        kind = "reduce-scatter"
    groups = device_groups(instruction, mesh)
    return Collective(
        kind=kind,
        axes=_axes(groups, mesh),
        devices=groups.shape[1],
        operand_bytes=sum(shape_bytes(here[name].shape) for name in instruction.operands),
        times=times,
        asynchronous=_is_asynchronous(instruction),
        group=tuple(groups[0].tolist()),
    )


def _between_slices(
    program: Program, computation: str, instruction: Instruction, times: int, slices: int
) -> Collective:
    """What leaves a slice is handed to the host, with a note of what the hosts are to make of it."""
    noted = re.search(r'_xla_megascale_transfer_type="(\w+)"', instruction.attributes)
    kind = noted.group(1).lower().replace("_", "-") if noted else "no megascale transfer"
    if kind not in KINDS:
        raise ValueError(f"{instruction.name}: what it sends is not known ({kind})")
    [sent, _] = instruction.operands
    return Collective(kind, (SLICES,), slices, shape_bytes(program.computations[computation][sent].shape), times, True)


def _is_asynchronous(instruction: Instruction) -> bool:
    if '"is_sync":true' in instruction.attributes:  # GPUs: in two parts, between which nothing runs
        return False
    marks = ("async_collective_name", "async_collective_fusion_config")
    return instruction.opcode.endswith("-start") or any(mark in instruction.attributes for mark in marks)


def device_groups(instruction: Instruction, mesh: Mapping[str, int]) -> np.ndarray:
    """[groups, devices of a group]: positions in the mesh, row by row; of a permutation, the pairs.

    Raises:
      ValueError: they are written in a way that is not known, or groups differ in size.
    """
    text, count = instruction.attributes, int(np.prod(list(mesh.values())))
    rows: Sequence | np.ndarray = ()
    if pairs := re.search(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}", text):
        rows = _listed(pairs.group(1))
    elif listed := re.search(r"replica_groups=\{((?:\{[\d,]*\},?)*)\}", text):
        rows = _listed(listed.group(1)) or [range(count)]
    elif iota := re.search(r"replica_groups=\[(\d+,\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", text):
        shape, dims, turned = ([int(i) for i in part.split(",")] if part else [] for part in iota.groups())
        order = np.arange(count).reshape(dims)
        rows = (order.transpose(turned) if turned else order).reshape(shape)
    elif named := re.search(r"replica_groups=mesh\[([^\]:]*)\](?:, device_ids=\(([^{]*)\))?\s*\{([^}:]*)\}", text):
        sizes = {axis: int(size) for axis, size in re.findall(r"'([^']+)'=(\d+)", named.group(1))}
        chosen = re.findall(r"'([^']+)'", named.group(3))
        order = _device_order(named.group(2), count).reshape(list(sizes.values()))
        last = [list(sizes).index(axis) for axis in chosen]
        first = [i for i in range(len(sizes)) if i not in last]
        rows = order.transpose(first + last).reshape(-1, int(np.prod([sizes[axis] for axis in chosen])))
    if not len(rows) or len({len(row) for row in rows}) > 1:
        raise ValueError(f"{instruction.name}: which devices exchange is not known from {text[:200]!r}")
    return np.array(rows)


def _listed(text: str) -> list[list[int]]:
    return [[int(i) for i in row.split(",")] for row in re.findall(r"\{([\d,]+)\}", text)]


def _device_order(text: str | None, count: int) -> np.ndarray:
    """Positions in the order of a mesh that the compiler made: their own, one after turning, or a list."""
    if text is None:
        return np.arange(count)
    if turned := re.fullmatch(r"\[([\d,]+)\]T\(([\d,]+)\)", text):
        dims, order = ([int(i) for i in part.split(",")] for part in turned.groups())
        return np.arange(count).reshape(dims).transpose(order).ravel()
    return np.array([int(i) for i in text.split(",")])


def _axes(groups: np.ndarray, mesh: Mapping[str, int]) -> tuple[str, ...]:
    """Axes along which the coordinates of a group's devices differ."""
    coordinates = np.stack(np.unravel_index(groups, list(mesh.values())))
    differs = (coordinates != coordinates[:, :, :1]).any((1, 2))
    return tuple(axis for axis, along in zip(mesh, differs, strict=True) if along)
