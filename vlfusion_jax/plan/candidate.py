"""One way to run a config on a machine, compiled ahead of time: the run's own training step, without the machine."""

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
from ml_collections import ConfigDict

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.pipeline import batch_shapes
from vlfusion_jax.data.tokenizer import load_tokenizer
from vlfusion_jax.data.vocabulary import MAX_ANSWERS_PER_QUESTION
from vlfusion_jax.parallel.placement import with_shardings
from vlfusion_jax.plan.topology import describe
from vlfusion_jax.train.setup import Run, build


@dataclass(frozen=True)
class Sizes:
    """What a vocabulary decides about programs, where the data of the run is not at hand.

    Assumed are questions of one kind, each with as many answers as fit: what data decides beyond that is a few numbers
    of a batch.

    Attributes:
      size: number of tokens.
      answers: names of the answers.
      kinds, answers_per_question: see `data.vocabulary.Vocabulary`.
    """

    size: int
    answers: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    answers_per_question: int = MAX_ANSWERS_PER_QUESTION


@dataclass(frozen=True)
class Candidate:
    """What is to be compiled.

    Attributes:
      strategy: name[:arg] of a sharding.
      topology: machine, see `topology.describe`; "here" stands for the devices of this process.
      batch_per_device: images of a device in an update; 0 = as the config's batch divides.
      answers: of the vocabulary.
      slices: how many such machines, see `topology.describe`.
      changes: {key: value} of the config, besides.
    """

    strategy: str
    topology: str
    batch_per_device: int = 0
    answers: int = 3129
    changes: dict[str, Any] = field(default_factory=dict)
    slices: int = 1

    @property
    def label(self) -> str:
        """What sets it apart from the others of a plan."""
        batch = [f"batch={self.batch_per_device}"] if self.batch_per_device else []
        return " ".join([self.strategy, *batch, *(f"{key}={value}" for key, value in self.changes.items())])


def prepare(config: ConfigDict, candidate: Candidate, devices: Sequence[jax.Device] | None = None) -> Run:
    """The run of `config` on `devices`, by default those of the candidate's machine; nothing is allocated.

    Raises:
      UserError: machine, strategy, model and batch do not fit each other, or the config starts from a checkpoint.
    """
    if config.init_from:
        raise UserError("a plan reads no checkpoint: leave init_from out, and set model and data.vocab_size as it has.")
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict({**candidate.changes, "sharding": candidate.strategy})
    devices = describe(candidate.topology, candidate.slices) if devices is None else devices
    if candidate.batch_per_device:
        size = candidate.batch_per_device * len(devices)
        config.train.batch_size = config.eval.batch_size = size
    tokens = load_tokenizer(config.data.tokenizer).get_vocab_size() if config.data.tokenizer else config.data.vocab_size
    return build(config, Sizes(tokens, tuple(map(str, range(candidate.answers)))), devices)


# "Used 19.5G of 15.75G hbm", "temporaries (20.67G) exceeds available HBM (15.75G)".
_USED = re.compile(r"(?:Used |\()([\d.]+)([KMGT]?)(?: of |\) exceeds available HBM \()([\d.]+)([KMGT]?)[ )]")


class TooLargeError(UserError):
    """A program that a device has no room for.

    Attributes:
      share: of the device's memory that it needs; None where the compiler does not say.
    """

    def __init__(self, message: str, share: float | None):
        super().__init__(message)
        self.share = share


def lower_step(run: Run) -> jax.stages.Lowered:
    """The run's training step for a batch of its own, not compiled yet."""
    shapes = batch_shapes(run.config, run.vocabulary)
    batch = with_shardings(shapes, dict.fromkeys(shapes, run.batch_sharding))
    return lower_for(run.strategy.mesh.devices.flat[0], run.train_step.trace(run.abstract_state, batch))


def lower_for(device: jax.Device, traced: jax.stages.Traced) -> jax.stages.Lowered:
    """Lowers for devices like this one, which need not be there."""
    # What "gpu" means, JAX asks those that are here.
    return traced.lower(lowering_platforms=({"gpu": "cuda"}.get(device.platform, device.platform),))


def compile_step(run: Run, lowered: jax.stages.Lowered | None = None) -> tuple[jax.stages.Compiled, float]:
    """(the compiled training step, seconds that the compiler took).

    Args:
      run: whose step.
      lowered: the step, where it is at hand.

    Raises:
      TooLargeError: the program does not fit the memory of a device, with what it needs.
    """
    lowered = lowered or lower_step(run)
    start = time.perf_counter()
    try:
        compiled = compile_for(run.strategy.mesh.devices.flat[0], lowered)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise TooLargeError(*_too_large(str(error))) from error
    return compiled, time.perf_counter() - start


def compile_for(device: jax.Device, lowered: jax.stages.Lowered) -> jax.stages.Compiled:
    """Compiles for devices like this one, which need not be there."""
    with contextlib.nullcontext() if device in jax.devices() else _uncached():
        return lowered.compile()


def _too_large(message: str) -> tuple[str, float | None]:
    """What the compiler says, and the share of the memory that it says is needed."""
    line = next((line for line in message.splitlines() if "Used" in line or "hbm" in line), message)
    sizes = _USED.search(message)
    if sizes is None:
        return f"does not fit: {line.strip():.300}", None
    used, unit, there, unit_there = sizes.groups(" ")
    units = dict(zip(" KMGT", (1024**i for i in range(5)), strict=True))
    share = float(used) * units[unit or " "] / (float(there) * units[unit_there or " "])
    return f"does not fit: {line.strip():.300}", share


@contextlib.contextmanager
def _uncached() -> Iterator[None]:
    """What is compiled within it is not written to JAX's cache, which could not read it back without the machine."""
    usual = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", float("inf"))
    try:
        yield
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", usual)
