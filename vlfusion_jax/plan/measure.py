"""Candidates measured on the devices that are there, in turns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from vlfusion_jax.core.hardware import peak_flops
from vlfusion_jax.plan.candidate import Candidate, compile_step, prepare
from vlfusion_jax.plan.estimate import needed_bytes
from vlfusion_jax.plan.probes import Machine, machine, probes
from vlfusion_jax.plan.random_batch import random_batch
from vlfusion_jax.plan.timing import Timing, interleave
from vlfusion_jax.train.setup import Run

HERE = "here"  # in place of the name of a machine
# Updates of one timed call where devices take orders ahead, as in training. Simulated devices share one pool of
# threads, in which two programs at once can wait for each other without end: there each update is waited for.
_UPDATES = 10


@dataclass(frozen=True)
class Ready:
    """A candidate that compiled.

    Attributes:
      candidate: it.
      run: that it makes of the config.
      compiled: its training step.
      compile_seconds: that it took.
    """

    candidate: Candidate
    run: Run
    compiled: jax.stages.Compiled
    compile_seconds: float

    @property
    def device(self) -> jax.Device:
        """The first of its devices."""
        return self.run.strategy.mesh.devices.flat[0]

    @property
    def program_bytes(self) -> int:
        """Memory of a device that the compiler set aside."""
        return needed_bytes(self.compiled)

    @cached_property
    def begin(self) -> Callable[[], tuple[Any, Any]]:
        """() → (a fresh state, a random batch), made on the devices."""
        placed = jax.tree.map(lambda leaf: leaf.sharding, self.run.abstract_state)
        made = jax.jit(lambda: (self.run.init_state(), random_batch(self.run)),
                       out_shardings=(placed, self.run.batch_sharding))  # fmt: skip
        return lambda: jax.block_until_ready(made())


@dataclass(frozen=True)
class Measured:
    """What a candidate took on the devices that are there.

    Attributes:
      seconds: of one update.
      examples_per_second: images, of all devices.
      mfu: model FLOPs a second, as a share of the peak; None where the computation has no known one.
      memory_bytes: most of a device that was in use, or what the program sets aside.
      memory_source: `device` where the device said so, `program` where the compiler did.
    """

    seconds: Timing
    examples_per_second: float
    mfu: float | None
    memory_bytes: int
    memory_source: str


class OneAtATime:
    """Training steps of several candidates, of which one has its state in memory: those of all may not fit at once."""

    def __init__(self) -> None:
        self._ready: Ready | None = None
        self._state: Any = None
        self._batch: Any = None

    def update(self, ready: Ready, count: int = 1) -> None:
        """`count` updates of a candidate, done when it returns; the first call after another's begins anew."""
        if self._ready is not ready:
            self._ready = self._state = self._batch = None
            self._state, self._batch = ready.begin()
            self._ready = ready
        for _ in range(count):
            self._state, metrics = ready.compiled(self._state, self._batch)
            if is_simulated():
                jax.block_until_ready(metrics)
        jax.block_until_ready((self._state, metrics))


def is_simulated() -> bool:
    """Whether the devices are this machine's cores."""
    return jax.default_backend() == "cpu"


def compile_here(config: ConfigDict, candidates: Sequence[Candidate]) -> tuple[list[Ready], dict[str, str]]:
    """The candidates that compile for the devices that are there, and {label: reason} of the others."""
    ready, problems = [], {}
    for candidate in tqdm(candidates, desc="compiling", leave=False):
        try:
            run = prepare(config, candidate, jax.devices())
            ready.append(Ready(candidate, run, *compile_step(run)))
        except Exception as error:  # whatever a compiler may raise is one line of the table
            problems[candidate.label] = first_line(error)
    return ready, problems


def measure(ready: Sequence[Ready], rounds: int) -> tuple[dict[str, Measured], dict[str, str], Machine | None]:
    """Times of candidates, all of them in turns: by label what was found and why others did not run, and the machine.

    A device tells the most memory that was ever in use: the candidates run once before, those that need least first, so
    that each in its turn sets a new mark; of one that sets none, what its program sets aside is reported.
    """
    stage, memory, problems, mark = OneAtATime(), {}, {}, _peak_bytes()
    for each in tqdm(sorted(ready, key=lambda each: each.program_bytes), desc="warming up", leave=False):
        try:
            stage.update(each)
        except jax.errors.JaxRuntimeError as error:  # such as memory that other processes hold
            problems[each.candidate.label] = first_line(error)
            continue
        peak = _peak_bytes()
        memory[each.candidate.label] = (peak, "device") if peak > mark else (each.program_bytes, "program")
        mark = max(mark, peak)
    running = {each.candidate.label: each for each in ready if each.candidate.label in memory}
    updates = 1 if is_simulated() else _UPDATES
    programs = {label: lambda each=each: stage.update(each, updates) for label, each in running.items()}
    if not running:
        return {}, problems, None
    dtype = next(iter(running.values())).run.config.precision.compute
    beside = probes(jax.devices(), dtype) if is_simulated() else {}  # of other devices the rates are published
    times = interleave(programs | beside, rounds)
    found = {
        label: _measured(each, Timing(*(seconds / updates for seconds in times[label])), *memory[label])
        for label, each in running.items()
    }
    return found, problems, machine(times, dtype, jax.device_count()) if beside else None


def _measured(ready: Ready, seconds: Timing, memory_bytes: int, memory_source: str) -> Measured:
    run = ready.run
    peak = peak_flops(ready.device.device_kind, run.config.precision.compute)
    return Measured(
        seconds=seconds,
        examples_per_second=run.config.train.batch_size / seconds.median,
        mfu=run.flops_per_step / run.strategy.mesh.size / seconds.median / peak if peak else None,
        memory_bytes=memory_bytes,
        memory_source=memory_source,
    )


def first_line(error: Exception) -> str:
    """What an error says, in a line."""
    return f"{(str(error).strip() or type(error).__name__).splitlines()[0]:.300}"


def _peak_bytes() -> int:
    """Most memory that a device of this process has ever had in use; 0 where it does not say."""
    return max((device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in jax.local_devices())
