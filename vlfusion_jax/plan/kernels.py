"""Kernels of a compiled program: what each multiplies, reads and writes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vlfusion_jax.plan.collectives import KINDS
from vlfusion_jax.plan.hlo import Instruction, Program, backend_config, root_of, shape_bytes
from vlfusion_jax.plan.products import Computation, product_bits, product_flops

# What runs other instructions, one kernel or more each, in which its time is spent; and what runs nothing.
CONTROL = ("while", "conditional", "call", "async-start")
_FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id", "replica-id",
         "opt-barrier", "add-dependency", "domain")  # fmt: skip
_ENDS = ("-done", "-update")
# Calls that stand for places in memory, or for where an exchange begins and ends.
_FREE_CALLS = ("AllocateBuffer", "ConcatBitcast", "AsyncCollectiveStart", "AsyncCollectiveDone",
               "AssumeGatherIndicesInBound")  # fmt: skip
UNPRICED = 2**63 - 1
# What a library's call may use as it likes, last of its results; and arrays on the chip of a TPU.
_WORKSPACE = re.compile(r", [su]8\[\d+\](?:\{[^{}]*\})?\)$")
_ON_CHIP = re.compile(r"\w+\[[\d,]*\]\{[^{}]*T\([^{}]*S\(1\)\}")


@dataclass(frozen=True)
class Kernel:
    """One piece of work of the device.

    Attributes:
      name: of its instruction.
      times: how often it runs in one call of the program.
      flops: of its products, one run.
      bits: of the numbers that it multiplies; 0 where it multiplies none.
      bytes: that it reads and writes, one run.
      unknown: whether it may multiply arrays unseen, as a custom call does.
      cycles: that a TPU's compiler expects of one run; `UNPRICED` where it knows none, as of kernels for another core
        of the chip, or not its own, as Pallas makes them; None where it gives none.
      beside: whether others run until it is done, as beside copies that only begin here.
    """

    name: str
    times: int
    flops: float
    bits: int
    bytes: int
    unknown: bool
    cycles: int | None = None
    beside: bool = False


def kernels(program: Program) -> list[Kernel]:
    """All of a program but those that exchange numbers between devices."""
    return [_kernel(program, computation, each, times) for computation, each, times in _launched(program)]


def program_flops(program: Program) -> float:
    """FLOPs of all products in one call of a program, on each device; a multiply-add counts two."""
    return sum(
        times * product_flops(program.computations[computation], each)
        for computation, each, times in program.executed()
    )


def _launched(program: Program) -> Iterator[tuple[str, Instruction, int]]:
    """Of `executed()`, what is no part of another kernel."""
    parts: set[str] = set()
    for computation, each, times in program.executed():
        if computation in parts or each.opcode not in CONTROL:
            parts.update(each.called)
        if computation in parts or each.opcode in (*CONTROL, *_FREE) or each.opcode.endswith(_ENDS):
            continue
        if each.opcode.removesuffix("-start") not in KINDS and _call_target(each) not in _FREE_CALLS:
            yield computation, each, times


def _kernel(program: Program, computation: str, instruction: Instruction, times: int) -> Kernel:
    here = program.computations[computation]
    products = [(product_flops(where, each), product_bits(where, each))
                for where, each in _within(program, here, instruction) if product_flops(where, each)]  # fmt: skip
    read = sum(_read(program, here, instruction, i) for i in range(len(instruction.operands)))
    return Kernel(
        name=instruction.name,
        times=times,
        flops=sum(flops for flops, _ in products),
        bits=max((bits for _, bits in products), default=0),
        bytes=read + _written(program, here, instruction),
        unknown=instruction.opcode == "custom-call" and not products,
        cycles=_cycles(instruction),
        beside=instruction.opcode.endswith("-start"),
    )


def _cycles(instruction: Instruction) -> int | None:
    if "estimated_cycles" in instruction.attributes:
        return int(backend_config(instruction).get("window_config", {}).get("estimated_cycles", 0))
    return UNPRICED if _call_target(instruction) == "tpu_custom_call" else None


def _call_target(instruction: Instruction) -> str:
    found = re.search(r'custom_call_target="([^"]*)"', instruction.attributes)
    return found.group(1) if found else ""


def _within(program: Program, here: Computation, instruction: Instruction) -> Iterator[tuple[Computation, Instruction]]:
    """An instruction, and all that it calls."""
    yield here, instruction
    for called in instruction.called:
        there = program.computations[called]
        for each in there.values():
            yield from _within(program, there, each)


def _bytes(shape: str) -> int:
    """Bytes in main memory of all arrays in a shape."""
    return shape_bytes(_ON_CHIP.sub("", shape))


def _read(program: Program, here: Computation, instruction: Instruction, operand: int) -> int:
    """Bytes that an instruction reads of an operand: of what it takes slices of, the slices only."""
    whole = _bytes(here[instruction.operands[operand]].shape)
    opcode = instruction.opcode
    if opcode in ("slice", "dynamic-slice", "gather") and operand == 0:
        return min(whole, _bytes(instruction.shape))
    if opcode == "slice-start":  # of a result that may lie on the chip
        return min(whole, shape_bytes(instruction.shape) - shape_bytes(here[instruction.operands[0]].shape))
    if opcode == "dynamic-update-slice" and operand == 0:
        return 0  # updated in its place
    if opcode == "scatter" and operand < _scattered(instruction):
        return min(whole, _updates(here, instruction))
    if opcode == "fusion":
        there = program.computations[instruction.called[0]]
        inside = next(each for each in there.values() if each.opcode == "parameter" and each.arguments == str(operand))
        return min(whole, _read_by_users(program, there, inside.name))
    return whole


def _read_by_users(program: Program, there: Computation, name: str) -> int:
    """Bytes that all users of a value read of it."""
    total = 0
    for user in there.values():
        for i, operand in enumerate(user.operands):
            if operand == name:
                total += (
                    _read_by_users(program, there, user.name)
                    if user.opcode == "bitcast"
                    else _read(program, there, user, i)
                )
    return total


def _written(program: Program, here: Computation, instruction: Instruction) -> int:
    """Bytes that an instruction writes: of what it updates in its place, the updates only."""
    opcode = instruction.opcode
    if opcode == "dynamic-update-slice":
        return _bytes(here[instruction.operands[1]].shape)
    if opcode == "scatter":
        return _updates(here, instruction)
    if opcode == "fusion":
        there = program.computations[instruction.called[0]]
        return _written(program, there, root_of(there))
    if opcode == "bitcast":
        return _written(program, here, here[instruction.operands[0]])
    if opcode == "tuple":
        return sum(_written(program, here, here[name]) for name in instruction.operands)
    if opcode == "parameter":
        return 0  # handed on
    if opcode in ("copy-start", "slice-start"):  # returns what it copies, too
        return _bytes(instruction.shape) - _bytes(here[instruction.operands[0]].shape)
    if opcode == "custom-call" and instruction.shape.startswith("("):
        return _bytes(_WORKSPACE.sub(")", instruction.shape))
    return _bytes(instruction.shape)


def _scattered(scatter: Instruction) -> int:
    """How many arrays it scatters into: as many as it has updates, with the indices between."""
    return len(scatter.operands) // 2


def _updates(here: Computation, scatter: Instruction) -> int:
    return sum(_bytes(here[name].shape) for name in scatter.operands[_scattered(scatter) + 1 :])
