"""The table of a plan: what fits first, the fastest first."""

import dataclasses

from vlfusion_jax.plan.candidate import Candidate
from vlfusion_jax.plan.estimate import Estimate, Traffic
from vlfusion_jax.plan.table import Row, by_speed, draw, format_rows, format_traffic, to_dict

GIB = 2**30
TRAFFIC = (Traffic("all-gather", ("fsdp", "tensor"), 24, 3e6, 0.75, 2e-3),)
ONE = Estimate(
    argument_bytes=2 * GIB, temporary_bytes=3 * GIB, memory_bytes=6 * GIB, capacity_bytes=16 * GIB, model_flops=1e12,
    program_flops=1.3e12, compute_seconds=0.02, compute_by="cycles", cycle_seconds=0.03, roofline_seconds=0.01,
    unpriced=(), traffic=TRAFFIC, least_bytes=2e6, exposed_seconds=0.005, step_seconds=0.025,
    examples_per_second=1280.0, mfu=0.25,
)  # fmt: skip


def row(strategy: str, **changes) -> Row:
    return Row(Candidate(strategy, "v5e:4x4"), dataclasses.replace(ONE, **changes), "", 61.0)


ROWS = [
    Row(Candidate("broken", "v5e:4x4"), None, "its compiler ended with status 1", 2.0),
    row("too_large", memory_bytes=17 * GIB, examples_per_second=9999.0),
    row("slow", examples_per_second=900.0, mfu=None),
    row("fast"),
]


def test_order():
    assert [each.candidate.strategy for each in by_speed(ROWS)] == ["fast", "slow", "too_large", "broken"]


def test_what_is_printed():
    heading, _, fast, slow, too_large, broken = format_rows(by_speed(ROWS)).splitlines()
    assert " ".join(fast.split()) == "fast 1,280 25.0 20.0 30.0 10.0 5.0 25.0 % 1.00 1.30 6.00 16 2.00 3.00 3 2 1.50 61"
    assert "%" not in slow
    assert "does not fit" in too_large
    assert broken == "broken: its compiler ended with status 1"
    assert len({len(line) for line in (heading, fast, slow, too_large)}) == 1
    assert format_traffic([row("fast")]) == (
        "fast: 24 all-gather over fsdp×tensor, 3.0 MB a device, 75 % beside work, 2.00 ms of its links"
    )


def test_what_the_time_leaves_out_is_said():
    last = format_rows([row("fast", unpriced=("scatter.3", "sort"))]).splitlines()[-1]
    assert last == "fast: the time leaves out what the compiler has no cycles for: scatter.3, sort"
    last = format_rows([row("fast", unpriced=("call",), compute_by="roofline")]).splitlines()[-1]
    assert last.startswith("fast: the time leaves out the arithmetic")
    assert last.endswith(": call")


def test_what_is_kept_and_drawn():
    stored = to_dict(ROWS)
    assert [each["fits"] for each in stored] == [False, False, True, True]
    assert stored[3]["estimate"]["traffic"][0]["axes"] == ("fsdp", "tensor")
    memory, step, sent = draw(ROWS).axes
    assert [label.get_text() for label in memory.get_yticklabels()] == ["too_large", "slow", "fast"]
    assert max(bar.get_width() for bar in step.patches) == 20.0
    assert [bar.get_width() for bar in sent.patches] == [3.0] * 3
    assert sent.collections[0].get_offsets().tolist() == [[2.0, 0.0], [2.0, 1.0], [2.0, 2.0]]


def test_candidates_of_one_strategy_are_told_apart():
    rows = [Row(Candidate("dp", "v5e:4x4", changes={"model.remat": each}), ONE, "", 1.0) for each in ("dots", "full")]
    assert [line[:19] for line in format_rows(rows).splitlines()[2:]] == ["dp model.remat=dots", "dp model.remat=full"]
    memory, *_ = draw(rows).axes
    assert [label.get_text() for label in memory.get_yticklabels()] == ["dp model.remat=dots", "dp model.remat=full"]
    assert sorted({bar.get_y() for bar in memory.patches}) == [-0.4, 0.6]
