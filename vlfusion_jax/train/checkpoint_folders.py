"""Where the checkpoints of a run stand, and which of them is to be read.

`<workdir>/checkpoints/<step>/`; what is still being written has a longer name.
"""

import gc
import itertools
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vlfusion_jax.core.errors import UserError

FOLDER = "checkpoints"
STATE = "state"


class CheckpointWarning(UserWarning):
    """A checkpoint could not be read and an older one is used in its place."""


def has_checkpoint(workdir: str | Path) -> bool:
    """Whether a work directory holds a finished checkpoint."""
    return bool(step_folders(Path(workdir) / FOLDER))


def step_folders(checkpoints: Path) -> list[Path]:
    """Folders of finished checkpoints, newest first; one being written has a longer name."""
    found = [folder for folder in checkpoints.glob("*") if folder.name.isdigit() and folder.is_dir()]
    return sorted(found, key=lambda folder: int(folder.name), reverse=True)


def checkpoint_folders(path: Path) -> list[Path]:
    """Folders of finished checkpoints, newest first, of which there is one at least.

    Args:
      path: a work directory, its `checkpoints` folder, or the folder of one checkpoint.

    Raises:
      UserError: no checkpoint there.
    """
    path = path.absolute()
    if path.name.isdigit() and (path / STATE).is_dir():
        return [path]
    folders = step_folders(path / FOLDER) or step_folders(path)
    if not folders:
        raise UserError(
            f"{path}: no checkpoint here; expected a work directory with {FOLDER}/<step>, or the folder of one step."
        )
    return folders


def free_name(folder: Path) -> Path:
    """`<step>.unreadable`, or with the first number behind it that is free."""
    names = itertools.chain(["unreadable"], (f"unreadable-{i}" for i in itertools.count(1)))
    return next(new for name in names if not (new := folder.with_name(f"{folder.name}.{name}")).exists())


def newest_readable(folders: list[Path], read: Callable[[Path], Any]) -> tuple[Path, Any]:
    """First of `folders` that `read` accepts, with what it returned; warns of each one passed over.

    Raises:
      UserError: of `read`, or none reads.
    """
    reasons: list[str] = []
    for folder in folders:
        try:
            result = read(folder)
        except UserError:
            raise  # the checkpoint is sound; what was asked of it does not fit
        except Exception as error:  # Orbax and its storage raise many kinds for damaged files
            reasons.append(f"{folder}: {type(error).__name__}: {(str(error).strip() or '-').splitlines()[0][:300]}")
        else:
            for reason in reasons:
                message = f"unreadable checkpoint passed over, {folder.name} used in its place. {reason}"
                warnings.warn(message, CheckpointWarning, stacklevel=3)
            return folder, result
        _collect_abandoned_reads()
    raise UserError("no checkpoint reads:\n  " + "\n  ".join(reasons))


def _collect_abandoned_reads() -> None:
    """Frees what Orbax had begun to read, without the pages its abandoned tasks print whenever they are found."""
    log, hook = logging.getLogger("asyncio"), sys.unraisablehook
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.disabled, sys.unraisablehook = True, lambda _: None
        try:
            gc.collect()
        finally:
            log.disabled, sys.unraisablehook = False, hook
