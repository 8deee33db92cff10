"""What a plan says of a program that is being measured."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.plan.candidate import Candidate
from vlfusion_jax.plan.estimate import estimate
from vlfusion_jax.plan.measure import Ready
from vlfusion_jax.plan.probes import Machine


class Prediction(NamedTuple):
    """Seconds of one update, or why there is no saying."""

    seconds: float | None
    missing: str = ""


def predict(ready: Ready, machine: Machine | None) -> Prediction:
    """Of the program that runs: on simulated devices by the rates of the `machine`, on others as a plan does."""
    try:
        if machine:
            return Prediction(machine.step_seconds(ready.run, ready.compiled))
        return Prediction(estimate(ready.run, ready.compiled).step_seconds)
    except ValueError as error:
        return Prediction(None, str(error))


def read_plan(path: str | Path) -> dict[str, dict[str, Any]]:
    """{label: estimate} of the candidates of a `plan.json` that compiled.

    Raises:
      UserError: it is none.
    """
    try:
        rows = json.loads(Path(path).read_text(encoding="utf-8"))
        return {Candidate(**row["candidate"]).label: row["estimate"] for row in rows if row["estimate"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"--plan={path} is no plan.json of vlfusion plan: {error!r:.200}") from error


def planned(ready: Ready, plan: Mapping[str, dict[str, Any]]) -> Prediction:
    """What the plan says of the candidate, where it planned a batch of the same size."""
    label, images = ready.candidate.label, ready.run.config.train.batch_size
    if label not in plan:
        return Prediction(None, f"the plan has no {label}; it has {', '.join(plan) or 'none that compiled'}")
    seconds = plan[label]["step_seconds"]
    there = round(plan[label]["examples_per_second"] * seconds)
    if there != images:
        return Prediction(None, f"the plan is for batches of {there} images, measured were {images}")
    flops = ready.run.flops_per_step / ready.run.strategy.mesh.size
    if not math.isclose(plan[label]["model_flops"], flops, rel_tol=1e-6):
        return Prediction(None, "the plan is of another model, or of another number of devices")
    return Prediction(seconds)
