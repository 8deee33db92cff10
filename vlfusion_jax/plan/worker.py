"""A process that compiles one candidate: `python -m vlfusion_jax.plan.worker OUT < JOB`, both JSON.

A compiler that fails, or takes too long, ends its own process only.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from vlfusion_jax.config.dump import load_plain
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.plan.candidate import Candidate, compile_step, prepare
from vlfusion_jax.plan.estimate import estimate


def main(out: str) -> None:
    """Writes {estimate, compile_seconds, problem} of the job on standard input to the file `out`."""
    job = json.load(sys.stdin)
    result = {"estimate": None, "compile_seconds": 0.0, "problem": ""}
    try:
        run = prepare(load_plain(job["config"], "the config"), Candidate(**job["candidate"]))
        compiled, result["compile_seconds"] = compile_step(run)
        result["estimate"] = asdict(estimate(run, compiled))
    except UserError as error:
        result["problem"] = str(error)
    except Exception as error:  # whatever a compiler may raise is one row of the plan
        result["problem"] = f"{type(error).__name__}: {(str(error).strip() or '-').splitlines()[0]:.300}"
    Path(out).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
