"""What a run tells: `metrics.jsonl`, TensorBoard events, and a line of progress. Process 0 alone writes."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path

import jax
from tensorboardX import SummaryWriter

FILE = "metrics.jsonl"
EVENTS = "tensorboard"
TIME = "time/"
EVAL = "eval/"


class MetricWriter:
    """Appends to the metrics of one work directory, from which everything after `step` is first cut off.

    A line is a JSON object: `step`, then each metric of that very step; a number that is not finite is null. Fields
    that begin with `time/` differ from run to run, all others are a function of the config alone.

    Args:
      workdir: the run's folder.
      step: completed updates of the restored checkpoint, 0 for a fresh start.
    """

    def __init__(self, workdir: str | Path, step: int):
        self._file = self._events = None
        if jax.process_index() == 0:
            path = Path(workdir) / FILE
            path.parent.mkdir(parents=True, exist_ok=True)
            cut_after(path, step)
            self._file = path.open("a", encoding="utf-8")
            self._events = SummaryWriter(str(path.parent / EVENTS), purge_step=step + 1)

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self.flush()
            self._file.close()
            self._events.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """One line for `step`, and one TensorBoard scalar for each finite value."""
        if self._file is None:
            return
        line = {"step": step} | {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps(line) + "\n")
        for name, value in values.items():
            if math.isfinite(value):
                self._events.add_scalar(name, value, step)

    def flush(self) -> None:
        """Returns when all lines are on disk; to be called before a checkpoint that vouches for them."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._events.flush()


def cut_after(path: Path, step: int) -> None:
    """Removes the lines of `path` for steps after `step`, and a last line that was cut short, in one atomic move."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    if len(kept) == len(lines):
        return
    new = path.with_name(path.name + ".new")
    with new.open("w", encoding="utf-8") as file:
        file.writelines(kept)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def read_metrics(workdir: str | Path) -> list[dict[str, float | None]]:
    """The lines of a work directory's `metrics.jsonl`, in order; empty where there is no such file."""
    path = Path(workdir) / FILE
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def was_evaluated(workdir: str | Path, step: int) -> bool:
    """Whether a work directory's `metrics.jsonl` has an evaluation after `step` updates."""
    lines = (line for line in read_metrics(workdir) if line["step"] == step)
    return any(name.startswith(EVAL) for line in lines for name in line)


def progress_line(step: int, steps: int, values: Mapping[str, float], eta: float | None) -> str:
    """`step 1200/5000  loss 1.234 (mlm 0.51 vqa 0.40)  acc 0.93  412 images/s  data 3%  MFU 41%  eta 2m10s`.

    Args:
      step: completed updates.
      steps: updates in all.
      values: metrics of the step with its `time/` fields.
      eta: seconds left, None where not known.
    """
    tasks = [f"{name.removesuffix('_loss')} {value:.3g}" for name, value in values.items() if name.endswith("_loss")]
    parts = [f"step {step}/{steps}", f"loss {values['loss']:.4g}" + (f" ({' '.join(tasks)})" if tasks else "")]
    if math.isfinite(values.get("accuracy", math.nan)):
        parts.append(f"acc {values['accuracy']:.2f}")
    parts += [f"{values[TIME + 'images_per_second']:.3g} images/s", f"data {values[TIME + 'data_share']:.0%}"]
    if TIME + "mfu" in values:
        parts.append(f"MFU {values[TIME + 'mfu']:.0%}")
    if eta is not None:
        parts.append(f"eta {duration(eta)}")
    return "  ".join(parts)


def duration(seconds: float) -> str:
    """`45s`, `2m10s` or `3h05m`."""
    total = round(seconds)
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m{total % 60:02d}s"
    return f"{total // 3600}h{total % 3600 // 60:02d}m"
