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
    """Times of each program, all of them in turns, so that what else the machine does hits them alike.

    A turn is two calls, of which the second counts: it finds caches and memory as the program itself left them, as in a
    run of its own. Behind another program's call it would also wait for memory that the system took back meanwhile.

    Args:
      programs: by name; each returns when its work is done.
      rounds: turns of each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in tqdm(range(rounds), desc="rounds", leave=False):
        for name, program in programs.items():
            program()
            start = time.perf_counter()
            program()
            seconds[name].append(time.perf_counter() - start)
    return {name: _summary(times) for name, times in seconds.items()}


def _summary(times: list[float]) -> Timing:
    if len(times) < 2:
        return Timing(times[0], times[0], times[0])
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return Timing(median, low, high)
