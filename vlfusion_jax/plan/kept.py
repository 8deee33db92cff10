"""Compiled programs of machines that are not here, kept on disk: what a plan reads of them."""

import contextlib
import gzip
import hashlib
import importlib.metadata
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import jax

from vlfusion_jax.core.compiler import UPDATES, compiler_options

_COMPILERS = ("jax", "jaxlib", "libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin")


@dataclass(frozen=True)
class Memory:
    """Bytes of a device, as `jax.stages.Compiled.memory_analysis` names them."""

    argument_size_in_bytes: int
    output_size_in_bytes: int
    alias_size_in_bytes: int
    temp_size_in_bytes: int
    generated_code_size_in_bytes: int


@dataclass(frozen=True)
class Kept:
    """What a plan reads of a compiled program; it stands in for `jax.stages.Compiled`.

    Attributes:
      text: the program.
      memory: that it needs.
      seconds: that it took to compile.
    """

    text: str
    memory: Memory
    seconds: float

    def as_text(self) -> str:
        """The program, as the compiler writes it."""
        return self.text

    def memory_analysis(self) -> Memory:
        """What it needs of a device's memory."""
        return self.memory


@dataclass(frozen=True)
class Refused:
    """A program that was too large to be compiled.

    Attributes:
      message, share: see `candidate.TooLargeError`.
    """

    message: str
    share: float | None


def key_of(lowered: jax.stages.Lowered, devices: Iterable[jax.Device]) -> str:
    """Name of what becomes of a program: it is another for other devices, options or versions of a compiler."""
    devices = list(devices)
    places = [(each.device_kind, each.id, getattr(each, "coords", None)) for each in devices]
    versions = {name: _version(name) for name in _COMPILERS}
    others = (places, compiler_options(UPDATES, devices[0].platform), os.environ.get("LIBTPU_INIT_ARGS"),
              os.environ.get("XLA_FLAGS"), versions)  # fmt: skip
    return hashlib.sha256(f"{others}\n{lowered.as_text()}".encode()).hexdigest()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def taken(compiled: jax.stages.Compiled, seconds: float) -> Kept:
    """What is kept of a program that took so many seconds to compile."""
    found = compiled.memory_analysis()
    return Kept(compiled.as_text(), Memory(**{name: getattr(found, name) for name in Memory.__annotations__}), seconds)


def read(folder: Path, key: str) -> Kept | Refused | None:
    """What became of the program of that name; None where nothing is there that can be read."""
    try:
        stored = json.loads(gzip.decompress((folder / f"{key}.json.gz").read_bytes()))
        if "message" in stored:
            return Refused(**stored)
        return Kept(stored["text"], Memory(**stored["memory"]), stored["seconds"])
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
        return None


def write(folder: Path, key: str, outcome: Kept | Refused) -> None:
    """Keeps it under a name, whole or not at all: where nothing can be written, it is compiled again another day."""
    beside = folder / f"{key}.{os.getpid()}"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(gzip.compress(json.dumps(asdict(outcome)).encode(), 4))
            beside.replace(folder / f"{key}.json.gz")
        finally:
            beside.unlink(missing_ok=True)
