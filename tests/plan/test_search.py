"""Looking for what fits and what is fastest, on machines whose answer a formula gives."""

import itertools
from dataclasses import replace

import pytest

from vlfusion_jax.plan.candidate import Candidate
from vlfusion_jax.plan.estimate import Estimate
from vlfusion_jax.plan.search import largest_batch, search
from vlfusion_jax.plan.table import Row

CAPACITY = 1000
ONE = Estimate(
    argument_bytes=1, temporary_bytes=1, memory_bytes=1, capacity_bytes=CAPACITY, model_flops=1.0, program_flops=1.0,
    compute_seconds=1.0, compute_by="cycles", cycle_seconds=1.0, roofline_seconds=1.0, unpriced=(), traffic=(),
    least_bytes=1.0, exposed_seconds=0.0, step_seconds=1.0, examples_per_second=1.0, mfu=0.5,
)  # fmt: skip
REMATS = {"dots": (10, 1.0), "full": (4, 0.8), "none": (20, 1.1)}  # bytes of an image, speed
STRATEGIES = {"dp": (600, 1.0), "fsdp": (100, 0.95), "tp": (150, 0.4)}  # bytes of the state, speed


def changes(remat: str, micro: int = 1) -> dict:
    return {"model.remat": remat, "train.micro_batches": micro}


class Machine:
    """Memory grows evenly with images; larger micro-batches are faster, by less and less."""

    def __init__(self, says_share: bool = True):
        self.asked: list[str] = []
        self.says_share = says_share

    def __call__(self, candidate: Candidate) -> Row:
        self.asked.append(candidate.label)
        state, speed = STRATEGIES[candidate.strategy]
        bytes_, faster = REMATS[candidate.changes["model.remat"]]
        at_once = candidate.batch_per_device / candidate.changes["train.micro_batches"]
        needed, rate = int(state + bytes_ * at_once), speed * faster * at_once / (at_once + 16)
        if needed > CAPACITY:
            return Row(candidate, None, "does not fit", 1.0, needed / CAPACITY if self.says_share else None)
        return Row(candidate, replace(ONE, memory_bytes=needed, examples_per_second=rate), "", 1.0, needed / CAPACITY)


@pytest.mark.parametrize("multiple", [1, 2])
@pytest.mark.parametrize(("batch", "remat"), [(256, "dots"), (64, "none"), (4096, "full"), (226, "full")])
def test_largest_batch(multiple, batch, remat):
    machine = Machine()
    row = machine(Candidate("fsdp", "v5e:4x4", batch, changes=changes(remat)))
    most = (CAPACITY - STRATEGIES["fsdp"][0]) // REMATS[remat][0]
    assert not row.fits
    found = largest_batch(row, machine, multiple)
    assert most - max(multiple, most // 16 + multiple) <= found <= most
    assert found % multiple == 0
    assert len(machine.asked) <= 4


def test_a_compiler_that_does_not_say_how_much_is_needed():
    first = Machine()(Candidate("fsdp", "v5e:4x4", 256, changes=changes("dots")))
    silent = Machine(says_share=False)
    assert largest_batch(replace(first, share=20.0), silent) is not None
    assert largest_batch(replace(first, share=1.01), silent) is None


def test_not_one_image():
    machine = Machine()
    STRATEGIES["huge"] = (2000, 1.0)
    assert largest_batch(machine(Candidate("huge", "v5e:4x4", 8, changes=changes("dots"))), machine) == 0
    del STRATEGIES["huge"]


def test_the_search_finds_the_best_of_all():
    machine = Machine()
    first = [Candidate(name, "v5e:4x4", 8, changes=changes("dots")) for name in STRATEGIES]
    best = search(first, list(REMATS), machine, 60)[0]
    batches, micro = [2**i for i in range(10)], [1, 2, 4]
    everything = [
        Machine()(Candidate(name, "v5e:4x4", batch, changes=changes(remat, parts)))
        for name, remat, batch, parts in itertools.product(STRATEGIES, REMATS, batches, micro)
        if batch % parts == 0
    ]
    most = max(row.estimate.examples_per_second for row in everything if row.fits)
    assert best.fits
    assert best.estimate.examples_per_second >= 0.97 * most
    assert len(machine.asked) == len(set(machine.asked))


def test_the_search_compiles_no_more_than_asked_and_starts_where_nothing_fits():
    machine = Machine()
    rows = search([Candidate("dp", "v5e:4x4", 256, changes=changes("dots"))], list(REMATS), machine, 9)
    assert len(machine.asked) == len(rows) == 9
    assert rows[0].fits
    assert machine.asked[0].startswith("dp batch=256 ")
