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


def largest_batch(row: Row, compile_: Compile) -> int:
    """Most images of a device that fit, found by compiling: memory grows evenly with them; 0 = not one.

    Args:
      row: of a candidate that does not fit.
      compile_: a candidate to its row.
    """
    candidate = row.candidate
    fits, too_many = 0, candidate.batch_per_device
    points = [(candidate.batch_per_device, row.share)]
    for _ in range(_TRIES):
        if too_many - fits <= max(1, fits // 16):
            break
        found = compile_(replace(candidate, batch_per_device=_guess(points, fits, too_many)))
        points.append((found.candidate.batch_per_device, found.share))
        if found.fits:
            fits = found.candidate.batch_per_device
        else:
            too_many = found.candidate.batch_per_device
    return fits


def _guess(points: Sequence[tuple[int, float | None]], fits: int, too_many: int) -> int:
    """The batch that just fits, by the line through the last two points; between those that do and do not."""
    known = [(batch, share) for batch, share in points if share is not None][-2:]
    if len(known) == 2 and known[0][0] != known[1][0] and known[0][1] != known[1][1]:
        (batch, share), (other, of_other) = known
        guess = batch + (1 - share) * (other - batch) / (of_other - share)
    else:
        guess = 0.9 * known[-1][0] / known[-1][1] if known else too_many / 2
    return min(max(int(guess), fits + 1), too_many - 1)


def search(first: Sequence[Candidate], remats: Sequence[str], compile_: Compile, most: int) -> list[Row]:
    """All that was compiled, the best first: the `first` candidates, then steps uphill from the best two of them.

    A step changes what the backward pass computes again, the batch of a device or the number of micro-batches, and is
    taken where the examples a second grow.

    Args:
      first: candidates, one for each mesh and strategy; with a batch.
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
    micro = here.changes.get(MICRO_BATCHES, 1)
    if row.fits and row.share < 0.75:
        yield replace(here, batch_per_device=2 * here.batch_per_device)
    for remat in remats:
        if remat != here.changes.get(REMAT):
            yield replace(here, changes=here.changes | {REMAT: remat})
    if here.batch_per_device % (2 * micro) == 0:
        yield replace(here, changes=here.changes | {MICRO_BATCHES: 2 * micro})
    if here.batch_per_device % 2 == 0 and here.batch_per_device // 2 % micro == 0:
        yield replace(here, batch_per_device=here.batch_per_device // 2)
    if micro > 1:
        yield replace(here, changes=here.changes | {MICRO_BATCHES: micro // 2})
