"""A work directory belongs to one config: what may change when a run goes on in it, and holding to that."""

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vlfusion_jax.config.dump import dump_plain, load_plain
from vlfusion_jax.config.keys import PUBLISHED, flatten
from vlfusion_jax.core.errors import UserError

FILE = "config.json"

# Keys, and sections ending in a dot, that do not change what is learned.
MAY_CHANGE = (
    "sharding",
    "attention",
    "data.path",
    "data.threads",
    "data.prefetch",
    "data.eval_split",
    "data.eval_limit",
    "model.remat",
    "train.log_every",
    "train.eval_every",
    "train.micro_batches",
    "checkpoint.",
    "eval.",
    "audit.",
    PUBLISHED,
)
_SECTIONS = tuple(key for key in MAY_CHANGE if key.endswith("."))


def differing_keys(before: ConfigDict, after: ConfigDict) -> list[str]:
    """Sorted keys whose values differ, those that may change left out."""
    old, new = flatten(before), flatten(after)
    differing = [key for key in old.keys() | new.keys() if key not in old or key not in new or old[key] != new[key]]
    # Each micro-batch draws dropout of its own.
    drops = any(key.endswith("dropout") and value for key, value in after.model.items())
    allowed = set(MAY_CHANGE) - ({"train.micro_batches"} if drops else set())
    return sorted(key for key in differing if key not in allowed and not key.startswith(_SECTIONS))


def check_workdir(
    workdir: str | Path, config: ConfigDict, load: Callable[[dict[str, Any], str], ConfigDict] = load_plain
) -> None:
    """Hold that a run of `config` may begin or go on in `workdir`, which may not exist yet; `load` reads what is there.

    Raises:
      UserError: nothing can be written there, or a run began there with another value of a key that changes what is
        learned; the message gives both.
    """
    _check_writable(Path(workdir))
    file = Path(workdir) / FILE
    if not file.exists():
        return
    try:
        plain = json.loads(file.read_text())
    except ValueError as error:
        raise UserError(f"{file} is damaged ({error}); choose another --workdir.") from error
    before = load(plain, str(file))
    keys = differing_keys(before, config)
    if keys:
        old, new = flatten(before), flatten(config)
        changes = ", ".join(f"{key} (there {old.get(key)!r}, now {new.get(key)!r})" for key in keys)
        raise UserError(
            f"{workdir} belongs to a run of another config; different: {changes}. "
            "Choose another --workdir, or the same config."
        )


def _check_writable(workdir: Path) -> None:
    place = next(folder for folder in (workdir, *workdir.absolute().parents) if folder.exists())
    if not place.is_dir():
        raise UserError(f"work directory {workdir}: {place} is a file; choose another --workdir.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"work directory {workdir}: {place} is not writable; choose another --workdir.")


def write_config(workdir: str | Path, config: ConfigDict) -> None:
    """Write `config.json` where there is none, whole or not at all; processes that share the folder may all do so."""
    folder = Path(workdir)
    if (folder / FILE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f"{FILE}.{uuid.uuid4().hex}.new"
    new.write_text(json.dumps(dump_plain(config), indent=1) + "\n")
    new.replace(folder / FILE)
