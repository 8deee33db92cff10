"""Times of programs that compete, measured in turns."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from tqdm import tqdm


class Timing(NamedTuple):
    """Seconds of one call: median and the quartiles around it."""

    median: float
    low: float
    high: float


def interleave(programs: Mapping[str, Callable[[], None]], rounds: int) -> dict[str, Timing]:
    """Times of each program, all of them called once a round, so that what else the machine does hits them alike.

    Args:
      programs: by name; each returns when its work is done.
      rounds: calls of each, behind one that is not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for turn in tqdm(range(rounds + 1), desc="rounds", leave=False):
        for name, program in programs.items():
            start = time.perf_counter()
            program()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: _summary(times) for name, times in seconds.items()}


def _summary(times: list[float]) -> Timing:
    if len(times) < 2:
        return Timing(times[0], times[0], times[0])
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return Timing(median, low, high)
