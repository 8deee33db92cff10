"""Where the time of a program goes: a trace for XProf, and its heaviest operations."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.plan.hlo import Program, parse
from vlfusion_jax.plan.kernels import CONTROL
from vlfusion_jax.plan.measure import OneAtATime, Ready

_UPDATES = 3


class Operation(NamedTuple):
    """One instruction of a program.

    Attributes:
      name: in the compiled program.
      seconds: in one call of the program, on a device; of one that exchanges numbers with waiting for the others.
      share: of the time of all operations.
      origin: the operation of the model that it computes, as JAX names it; '' where the compiler made it up.
    """

    name: str
    seconds: float
    share: float
    origin: str


def profile(ready: Ready, folder: Path) -> list[Operation]:
    """Traces a few updates of a candidate; its ten heaviest operations.

    Args:
      ready: it.
      folder: where the trace goes, which `xprof` and TensorBoard show.

    Raises:
      UserError: as `heaviest`.
    """
    stage = OneAtATime()
    stage.update(ready)
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # calls of Python would be most of the trace
    with jax.profiler.trace(folder, profiler_options=options):
        stage.update(ready, _UPDATES)
    newest = max(folder.rglob("*.xplane.pb"), key=lambda path: path.stat().st_mtime)
    return heaviest(newest, parse(ready.compiled.as_text()), _UPDATES * jax.local_device_count())


def heaviest(file: Path, program: Program, calls: int, count: int = 10) -> list[Operation]:
    """Operations of a traced program that take the most time, heaviest first.

    Args:
      file: the trace, an `xplane.pb`.
      program: that ran.
      calls: of it in the trace, on all devices that the trace holds.
      count: how many to return.

    Raises:
      UserError: the profiler of this platform named none of the program's operations.
    """
    instructions = {each.name: each for where in program.computations.values() for each in where.values()}
    spent: Counter[str] = Counter()
    for name, nanoseconds in _events(file):
        if name in instructions and instructions[name].opcode not in CONTROL:
            spent[name] += nanoseconds / 1e9 / calls
    if not spent:
        raise UserError(f"--profile: {file} names no operation of the program; look at it with xprof.")
    total = sum(spent.values())
    return [
        Operation(name, seconds, seconds / total, _origin(instructions[name].attributes))
        for name, seconds in spent.most_common(count)
    ]


def _events(file: Path) -> Iterator[tuple[str, float]]:
    """(instruction, nanoseconds) of all that devices did.

    Devices that are cores or GPUs say so in a statistic of each event, TPUs have a line of events named by the
    instruction's text.
    """
    for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
        for line in plane.lines:
            for event in line.events:
                name = dict(event.stats).get("hlo_op", event.name if line.name == "XLA Ops" else "")
                if name:
                    yield name.partition(" = ")[0].lstrip("%"), event.duration_ns


def _origin(attributes: str) -> str:
    found = re.search(r'op_name="([^"]*)"', attributes)
    return found.group(1) if found else ""


def format_operations(found: list[Operation]) -> str:
    """A table of them."""
    lines = [f"{'operation':<34}{'ms':>9}{'share':>8}  of the model"]
    for each in found:
        share = f"{100 * each.share:.1f} %"
        lines.append(f"{each.name:<34.33}{1e3 * each.seconds:>9.2f}{share:>8}  {each.origin[-60:]}")
    return "\n".join(lines)
