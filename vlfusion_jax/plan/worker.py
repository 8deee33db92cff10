"""A process that compiles one candidate: `python -m vlfusion_jax.plan.worker OUT < JOB`, both JSON.

A compiler that fails, or takes too long, ends its own process only.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.table import load_stored
from vlfusion_jax.plan.candidate import Candidate, TooLargeError, compile_step, lower_step, prepare
from vlfusion_jax.plan.estimate import estimate, known_device
from vlfusion_jax.plan.kept import Kept, Refused, key_of, read, taken, write
from vlfusion_jax.train.setup import Run


def main(out: str) -> None:
    """Writes the fields of a `table.Row` but for the candidate, of the job on standard input, to the file `out`."""
    job = json.load(sys.stdin)
    result = {"estimate": None, "compile_seconds": 0.0, "problem": "", "share": None}
    try:
        run = prepare(load_stored(job["config"], "the config"), Candidate(**job["candidate"]))
        known_device(run.strategy.mesh)  # before minutes are spent on it
        kept = _compiled(run, Path(job["kept"]))
        result["compile_seconds"] = kept.seconds
        result["estimate"] = asdict(estimate(run, kept))
        result["share"] = result["estimate"]["memory_bytes"] / result["estimate"]["capacity_bytes"]
    except TooLargeError as error:
        result |= {"problem": str(error), "share": error.share}
    except UserError as error:
        result["problem"] = str(error)
    except Exception as error:  # whatever a compiler may raise is one row of the plan
        result["problem"] = f"{type(error).__name__}: {(str(error).strip() or '-').splitlines()[0]:.300}"
    Path(out).write_text(json.dumps(result), encoding="utf-8")


def _compiled(run: Run, folder: Path) -> Kept:
    """The run's step, compiled now or on a day before."""
    lowered = lower_step(run)
    key = key_of(lowered, run.strategy.mesh.devices.flat)
    found = read(folder, key)
    if found is None:
        try:
            found = taken(*compile_step(run, lowered))
        except TooLargeError as error:
            found = Refused(str(error), error.share)
        write(folder, key, found)
    if isinstance(found, Refused):
        raise TooLargeError(found.message, found.share)
    return found


if __name__ == "__main__":
    main(sys.argv[1])
