"""Follows a training loop: its metrics, its speed, and the loss that is no number."""

import contextlib
import math
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.hardware import peak_flops
from vlfusion_jax.data.layout import layout_of
from vlfusion_jax.train.metrics import EVAL, TIME, MetricWriter, progress_line

_MUST_BE_FINITE = ("loss", "grad_norm")


def _is_loss_or_norm(name: str) -> bool:
    return name.endswith("loss") or name in _MUST_BE_FINITE


def _reading_order(name: str) -> tuple[bool, bool, str]:
    """The loss, then the losses of the tasks, then the rest by name."""
    return name != "loss", not name.endswith("_loss"), name


def is_due(step: int, every: int, last: int) -> bool:
    """Whether something done every `every` steps, and after the last, is done after `step`; 0 = after the last only."""
    return step == last or (every > 0 and step % every == 0)


class TrainLog:
    """Writes the metrics of the steps that `config.train.log_every` names, and of the first and the last.

    Metrics are fetched one step late, while the device computes the next: it never waits, and never runs more than one
    step ahead of the host.

    Args:
      run: see `train.setup.Run`.
      writer: where lines go.
      clock: seconds of training before this process.
    """

    def __init__(self, run: Any, writer: MetricWriter, clock: float):
        self._config, self._writer = run.config, writer
        peak = peak_flops(jax.devices()[0].device_kind, run.config.precision.compute)
        self._mfu_per_step = run.flops_per_step / (peak * run.strategy.mesh.size) if peak else None
        self._pending: tuple[int, dict[str, jax.Array]] | None = None
        self._start = time.perf_counter() - clock
        self._compiled = False
        self._begin_lap(None)

    def _begin_lap(self, step: int | None) -> None:
        self._lap_step, self._lap_start, self._waited = step, time.perf_counter(), 0.0

    @property
    def clock(self) -> float:
        """Seconds of training so far, those before a resume included."""
        return time.perf_counter() - self._start

    @contextlib.contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """The time within it counts as waiting for data."""
        start = time.perf_counter()
        yield
        self._waited += time.perf_counter() - start

    def add(self, step: int, metrics: dict[str, jax.Array]) -> None:
        """Takes the metrics of `step` and reports those of the step before.

        Raises:
          UserError: loss or gradient of that step is not finite.
        """
        before, self._pending = self._pending, (step, metrics)
        if before is not None:
            self._report(*before)

    def settle(self) -> None:
        """Reports what is pending; afterwards every line up to now is on disk. Raises as `add` does."""
        if self._pending is not None:
            self._report(*self._pending)
            self._pending = None
        self._writer.flush()

    def evaluation(self, step: int, results: dict[str, float]) -> None:
        """Writes results of an evaluation; its time does not count towards the speed of training."""
        self._writer.write(step, {EVAL + name: value for name, value in results.items()})
        self._writer.flush()
        self._begin_lap(step)

    def _report(self, step: int, metrics: dict[str, jax.Array]) -> None:
        fetched = jax.device_get(metrics)
        values = {name: float(fetched[name]) for name in sorted(fetched, key=_reading_order)}
        if self._lap_step is None:
            self._lap_step = step - 1
        finite = all(math.isfinite(values[name]) for name in _MUST_BE_FINITE if name in values)
        steps = self._config.train.steps
        if finite and step != 1 and not is_due(step, self._config.train.log_every, steps):
            return
        timing, eta = self._lap(step)
        self._writer.write(step, values | timing)
        if jax.process_index() == 0:
            print(progress_line(step, steps, values | timing, eta), file=sys.stderr, flush=True)
        if not finite:
            self._writer.flush()
            shown = ", ".join(f"{name}={value:g}" for name, value in values.items() if _is_loss_or_norm(name))
            raise UserError(
                f"training went wrong at step {step}: {shown}. No checkpoint holds it; start a new work directory with "
                "a lower optim.lr, more optim.warmup_steps, or optim.clip_norm, from the last good weights with "
                "--init_from if there are any."
            )

    def _lap(self, step: int) -> tuple[dict[str, float], float | None]:
        seconds = max(time.perf_counter() - self._lap_start, 1e-9)
        rate = (step - self._lap_step) / seconds
        timing = {
            TIME + "images_per_second": rate * self._config.train.batch_size * layout_of(self._config).images,
            TIME + "data_share": min(self._waited / seconds, 1.0),
            TIME + "clock": self.clock,
        }
        if self._mfu_per_step is not None:
            timing[TIME + "mfu"] = rate * self._mfu_per_step
        # The first lap holds the compilation and foretells nothing.
        eta = (self._config.train.steps - step) / rate if self._compiled and rate > 0 else None
        self._compiled = True
        self._begin_lap(step)
        return timing, eta
