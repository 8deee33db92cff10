"""Notices that the run should stop: SIGTERM (preemption) or Ctrl-C, agreed among all hosts."""

import signal
import threading
from types import FrameType

import jax
from jax.experimental import multihost_utils


class StopWatch:
    """Context within which SIGTERM and SIGINT ask the loop to stop after the step it is in.

    The second SIGINT interrupts at once. Under `jax.distributed` its own service listens for SIGTERM and lets every
    host know, so that all stop after the same step; there SIGINT is passed on as SIGTERM. Outside the main thread no
    handler can be set and none is.
    """

    def __init__(self) -> None:
        self._asked = False
        self._previous: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopWatch":
        if threading.current_thread() is threading.main_thread():
            ours = (signal.SIGINT,) if jax.distributed.is_initialized() else (signal.SIGINT, signal.SIGTERM)
            for number in ours:
                self._previous[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if jax.distributed.is_initialized():
                signal.raise_signal(signal.SIGTERM)

    def should_stop(self, step: int) -> bool:
        """Whether to save and stop after `step`; every host must ask after every step."""
        if jax.distributed.is_initialized():
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked
