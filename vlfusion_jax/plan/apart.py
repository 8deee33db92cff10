"""Compiling a candidate in a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vlfusion_jax.config.dump import dump_plain
from vlfusion_jax.plan.candidate import Candidate
from vlfusion_jax.plan.estimate import Estimate, Traffic
from vlfusion_jax.plan.table import Row


def compile_apart(config: ConfigDict, candidate: Candidate, seconds: float, kept: Path) -> Row:
    """The row of a candidate, compiled in a process which ends after so many seconds.

    Args:
      config: that the candidate is a way to run.
      candidate: it.
      seconds: most time.
      kept: folder of programs that are compiled already; see `plan.kept`.
    """
    job = {"config": dump_plain(config), "candidate": vars(candidate), "kept": str(kept)}
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    start = time.perf_counter()

    def failed(problem: str) -> Row:
        return Row(candidate, None, problem, time.perf_counter() - start)

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        words = [sys.executable, "-m", "vlfusion_jax.plan.worker", str(out)]
        try:
            done = subprocess.run(
                words,
                input=json.dumps(job),
                text=True,
                capture_output=True,
                timeout=seconds,
                env=environment,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return failed(f"not compiled after {seconds / 60:.0f} minutes")
        if not out.is_file():
            last = (done.stderr.strip() or "no message").splitlines()[-1]
            return failed(f"its compiler ended with status {done.returncode}: {last:.300}")
        result = json.loads(out.read_text(encoding="utf-8"))
    return Row(candidate, **result | {"estimate": _estimate(result["estimate"])})


def _estimate(stored: dict[str, Any] | None) -> Estimate | None:
    if stored is None:
        return None
    traffic = tuple(Traffic(**each | {"axes": tuple(each["axes"])}) for each in stored["traffic"])
    return Estimate(**stored | {"traffic": traffic, "unpriced": tuple(stored["unpriced"])})
