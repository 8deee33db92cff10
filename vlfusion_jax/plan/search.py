"""Ways to run a config that are better than those named: what fits, and what is faster."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from vlfusion_jax.plan.candidate import Candidate
from vlfusion_jax.plan.table import Row, by_speed

Compile = Callable[[Candidate], Row]
REMAT, MICRO_BATCHES = "model.remat", "train.micro_batches"
# What is shorter than this share of a step is within the error of any prediction.
_GAIN = 0.01
_CLIMBED = 2
_TRIES = 5


def largest_batch(row: Row, compile_: Compile, multiple: int = 1) -> int | None:
    """Most images of a device that fit, found by compiling: memory grows evenly with them; 0 = not the least batch.

    None where a compiler does not say whether one fits, or the tries end before any does.

    Args:
      row: of a candidate that does not fit.
      compile_: a candidate to its row.
      multiple: what the images divide by.
    """
    fits, too_many = 0, row.candidate.batch_per_device // multiple
    points = [(too_many, row.share)]
    for _ in range(_TRIES):
        if too_many - fits <= max(1, fits // 16):
            return fits * multiple
        guess = _guess(points, fits, too_many)
        found = compile_(replace(row.candidate, batch_per_device=guess * multiple))
        points.append((guess, found.share))
        if found.fits:
            fits = guess
        elif found.share is None:
            break
        else:
            too_many = guess
    return fits * multiple or None


def _guess(points: Sequence[tuple[int, float]], fits: int, too_many: int) -> int:
    """What just fits, by the line through the last two points; between what does and does not."""
    batch, share = points[-1]
    guess = 0.9 * batch / share
    if len(points) > 1 and points[-2][0] != batch and points[-2][1] != share:
        other, of_other = points[-2]
        guess = batch + (1 - share) * (other - batch) / (of_other - share)
    return min(max(int(guess), fits + 1), too_many - 1)


def search(first: Sequence[Candidate], remats: Sequence[str], compile_: Compile, most: int) -> list[Row]:
    """All that was compiled, the best first: the `first` candidates, then steps uphill from the best two of them.

    A step changes what the backward pass computes again, the batch of a device or the number of micro-batches, and is
    taken where the examples a second grow.

    Args:
      first: candidates, one for each mesh and strategy, whose batch, remat and micro-batches are given.
      remats: settings of `model.remat`.
      compile_: a candidate to its row.
      most: candidates to compile.
    """
    rows: dict[str, Row] = {}

    def row_of(candidate: Candidate) -> Row | None:
        if candidate.label not in rows and len(rows) < most:
            rows[candidate.label] = compile_(candidate)
        return rows.get(candidate.label)

    for each in first:
        row_of(each)
    for start in by_speed(list(rows.values()))[:_CLIMBED]:
        best: Row | None = start
        while best is not None and best.share is not None:
            here = best
            others = (row_of(each) for each in _next_to(here, remats))
            best = next((other for other in others if other is not None and _better(other, here)), None)
    return by_speed(list(rows.values()))


def _better(row: Row, other: Row) -> bool:
    if row.fits != other.fits:
        return row.fits
    if not row.fits:  # what is nearer to fitting
        return row.share is not None and row.share < other.share
    return row.estimate.examples_per_second > (1 + _GAIN) * other.estimate.examples_per_second


def _next_to(row: Row, remats: Sequence[str]) -> Iterator[Candidate]:
    """Candidates one step away, the most promising first."""
    here = row.candidate
    micro = here.changes[MICRO_BATCHES]
    if row.fits and row.share < 0.75:
        yield replace(here, batch_per_device=2 * here.batch_per_device)
    for remat in remats:
        if remat != here.changes[REMAT]:
            yield replace(here, changes=here.changes | {REMAT: remat})
    if here.batch_per_device % (2 * micro) == 0:
        yield replace(here, changes=here.changes | {MICRO_BATCHES: 2 * micro})
    if here.batch_per_device % 2 == 0 and here.batch_per_device // 2 % micro == 0:
        yield replace(here, batch_per_device=here.batch_per_device // 2)
    if micro > 1:
        yield replace(here, changes=here.changes | {MICRO_BATCHES: micro // 2})
