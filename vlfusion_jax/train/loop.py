"""The training loop."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from vlfusion_jax.data.global_array import to_global
from vlfusion_jax.parallel.audit import summarise_audit
from vlfusion_jax.train.begin import begin, say
from vlfusion_jax.train.checkpoint import Checkpointer
from vlfusion_jax.train.log import TrainLog, is_due
from vlfusion_jax.train.meta import describe
from vlfusion_jax.train.metrics import MetricWriter, was_evaluated
from vlfusion_jax.train.state import TrainState
from vlfusion_jax.train.watch import StopWatch


class Outcome(NamedTuple):
    """How `train` ended.

    Attributes:
      state: the last `TrainState`.
      step: completed updates.
      finished: False where a signal stopped the run early; it is saved, and the same command goes on with it.
      evaluation: results of the last step, None where it was not evaluated now.
    """

    state: TrainState
    step: int
    finished: bool
    evaluation: dict[str, float] | None


def train(
    run: Any,
    batches_from: Callable[[int], Iterator[dict[str, np.ndarray]]],
    workdir: str | Path,
    evaluate: Callable[[Any], dict[str, float]] | None = None,
    source: str = "",
) -> Outcome:
    """Trains `run` in `workdir` to its last step, from the newest checkpoint there or from the beginning.

    Args:
      run: see `train.setup.Run`.
      batches_from: step → iterator of this host's part of batch `step`, `step` + 1, … with a `close` method.
      workdir: gets `checkpoints`, `metrics.jsonl` and `tensorboard`.
      evaluate: params → metrics, called every `train.eval_every` steps and after the last.
      source: fingerprint of the training data, which a resumed run must share.

    Raises:
      UserError: loss or gradient is not finite; vocabulary or data are not the checkpoint's; no checkpoint reads. What
        `batches_from` and `evaluate` raise goes on, after the updates so far are saved (with one process: of several,
        the others are elsewhere).
    """
    config, steps = run.config, run.config.train.steps
    evaluation, stop = None, False
    with contextlib.closing(Checkpointer(workdir, config.checkpoint)) as checkpoints, StopWatch() as watch:
        state, step, clock = begin(run, checkpoints, source)
        found = summarise_audit(run.audit, run.strategy.mesh.size)
        say(f"{found} (sharding {config.sharding}, attention {config.attention})")
        # An evaluation that failed is still owed: what was trained before it is saved without it.
        owed = evaluate is not None and step and is_due(step, config.train.eval_every, steps)
        owed = owed and not was_evaluated(workdir, step)
        if step >= steps:
            say(f"already trained to step {step}: {'its evaluation' if owed else 'nothing'} left to do")
        if step >= steps and not owed:
            return Outcome(state, step, True, None)
        with MetricWriter(workdir, step) as writer, contextlib.closing(batches_from(step)) as batches:
            log = TrainLog(run, writer, clock)

            def save() -> None:
                log.settle()  # metrics up to a checkpoint are on disk before it exists
                checkpoints.save(step, state, describe(run, log.clock, source), evaluation)

            @contextlib.contextmanager
            def saved_on_error() -> Iterator[None]:
                try:
                    yield
                except Exception:
                    if step and jax.process_count() == 1:
                        save()
                        checkpoints.wait()
                        say(f"saved after step {step}; the same command goes on from here")
                    raise

            def evaluated() -> dict[str, float]:
                log.settle()
                with saved_on_error():
                    results = evaluate(state.params)
                log.evaluation(step, results)
                return results

            if owed:
                evaluation = evaluated()
            while step < steps and not stop:
                with saved_on_error(), log.waiting_for_data():
                    batch = to_global(next(batches), run.batch_sharding)
                with jax.transfer_guard("disallow"):
                    state, metrics = run.step_of(step)(state, batch)
                step, evaluation = step + 1, None
                log.add(step, metrics)
                stop = watch.should_stop(step)
                if evaluate is not None and is_due(step, config.train.eval_every, steps):
                    evaluation = evaluated()
                if stop or is_due(step, config.checkpoint.every, steps):
                    save()
            checkpoints.wait()
    if step < steps:
        say(f"stopped by a signal after step {step} of {steps}, saved; the same command goes on from here")
    return Outcome(state, step, step == steps, evaluation)
