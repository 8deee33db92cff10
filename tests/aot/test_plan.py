"""Training steps compiled for TPUs that are not here, and what the plan says of them."""

import itertools
import json
import math

import jax
import pytest

from vlfusion_jax.cli.main import main
from vlfusion_jax.config.load import load_config
from vlfusion_jax.core.arithmetic import round_up
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.data.pipeline import batch_shapes
from vlfusion_jax.parallel.mesh import slice_of
from vlfusion_jax.plan.candidate import Candidate, compile_step, prepare
from vlfusion_jax.plan.estimate import estimate
from vlfusion_jax.plan.topology import describe

pytest.importorskip("libtpu", reason="needs the compiler for TPUs: pip install libtpu")
CHANGES = {
    "model.width": 256, "model.heads": 2, "model.mlp_width": 512, "precision.compute": "bfloat16",
    "data.vocab_size": 512,
}  # fmt: skip


def share(shape: tuple[int, ...], dtype, sharding) -> int:
    """Bytes that a device's part takes in tiles of 8 x 128 words, two dims along them, chosen so that least is lost."""
    part, word = sharding.shard_shape(shape), jax.numpy.dtype(dtype).itemsize
    rows = 8 * 4 // word
    if len(part) < 2:
        tile = 128 * 4 // word if math.prod(part) < 1024 else 1024
        return (round_up(part[0], tile) if part else 1) * word

    def padded(row: int, lane: int) -> int:
        others = math.prod(size for dim, size in enumerate(part) if dim not in (row, lane))
        tile = min(rows, 2 ** math.ceil(math.log2(part[row])))
        return others * round_up(part[row], tile) * round_up(part[lane], 128) * word

    return min(padded(*dims) for dims in itertools.permutations(range(len(part)), 2))


@pytest.mark.parametrize("strategy", ["dp", "fsdp", "fsdp_tp:2", "tp_sp:2", "hybrid", "zero1"])
def test_a_training_step(small_config, strategy):
    run = prepare(small_config(), Candidate(strategy, "v5e:2x2", batch_per_device=8, answers=7, changes=CHANGES))
    assert run.config.train.batch_size == 32
    compiled, seconds = compile_step(run)
    found = estimate(run, compiled)
    assert seconds > 0
    # Counted here from the shapes alone.
    state = sum(share(leaf.shape, leaf.dtype, leaf.sharding) for leaf in flatten(run.abstract_state).values())
    batch = batch_shapes(run.config, run.vocabulary).values()
    state += sum(share(each.shape, each.dtype, run.batch_sharding) for each in batch)
    assert found.argument_bytes == pytest.approx(state, rel=0.01)
    assert 0 < found.compute_seconds < found.step_seconds < 1
    assert 0 < found.mfu < 1
    kinds = {(each.kind, each.axes) for each in found.traffic}
    if strategy == "dp":
        assert kinds == {("all-reduce", ("data",))}
        [traffic] = found.traffic
        parameters = sum(math.prod(leaf.shape) for leaf in flatten(run.abstract_state.params).values())
        # Every gradient at least once: 2 · 3/4 of their bytes, in bf16 or f32.
        assert traffic.sent_bytes >= 1.5 * 2 * parameters
    else:
        gathered = "data" if strategy == "zero1" else "fsdp"
        assert any(kind == "all-gather" and gathered in axes for kind, axes in kinds)
    assert (("tensor",) in {axes for _, axes in kinds}) == (strategy in ("fsdp_tp:2", "tp_sp:2"))


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "limit"), [("dp", 1.05), ("fsdp", 1.15), ("zero1", 1.05)])
def test_vilt_sends_little_more_than_its_strategy_asks_for(strategy, limit):
    config = load_config("configs/pretrain/vilt_b32.py")
    run = prepare(config, Candidate(strategy, "v5e:4x4", batch_per_device=16, changes={"model.layers": 2}))
    found = estimate(run, compile_step(run)[0])
    assert 0.7 < sum(each.sent_bytes for each in found.traffic) / found.least_bytes <= limit


def test_two_slices(small_config):
    """Sums within a slice by its own links, and between the slices once by the network."""
    candidate = Candidate("hybrid", "v5e:2x2", batch_per_device=8, answers=7, changes=CHANGES, slices=2)
    run = prepare(small_config(), candidate)
    mesh = run.strategy.mesh
    assert dict(mesh.shape) == {"data": 2, "fsdp": 4, "tensor": 1}
    assert [{slice_of(device) for device in row.flat} for row in mesh.devices] == [{0}, {1}]
    found = estimate(run, compile_step(run)[0])
    between = [each for each in found.traffic if each.axes == ("slices",)]
    parameters = sum(math.prod(leaf.shape) for leaf in flatten(run.abstract_state.params).values())
    # Each chip's quarter of all gradients, in bf16 or f32, there and back.
    sent = sum(each.sent_bytes for each in between if each.kind == "all-reduce")
    assert 2 * parameters / 4 <= sent <= 1.5 * 4 * parameters / 4
    assert not any("data" in each.axes for each in found.traffic)


def test_more_slices_than_replicas(small_config):
    run = prepare(small_config(), Candidate("hybrid:2", "v5e:2x2", 8, answers=7, changes=CHANGES, slices=4))
    assert [len({slice_of(device) for device in row.flat}) for row in run.strategy.mesh.devices] == [2, 2]


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VLFUSION_CACHE", str(tmp_path / "cache"))
    words = ["plan", "--config=configs/tiny.py", "--topology=v5e:2x2", "--batch_per_device=8", f"--out={tmp_path}"]
    assert main([*words, "--strategies=fsdp,fsdp_tp:3"]) == 0
    printed = capsys.readouterr().out
    assert "fsdp_tp:3 batch=8: sharding 'fsdp_tp:3': mesh" in printed
    assert "all-gather over fsdp" in printed
    stored = json.loads((tmp_path / "plan.json").read_text())
    assert [row["candidate"]["strategy"] for row in stored] == ["fsdp", "fsdp_tp:3"]
    assert [row["fits"] for row in stored] == [True, False]
    assert stored[0]["estimate"]["mfu"] is None  # f32 has no published peak
    assert (tmp_path / "plan.png").stat().st_size > 1000
    assert main([*words, "--strategies=fsdp_tp:3"]) == 2
    assert "no candidate compiled" in capsys.readouterr().err


def test_machines():
    assert [device.device_kind for device in describe("v5e:2x2")] == ["TPU v5 lite"] * 4
    assert len(describe("v4:2x2x2")) == 8
    with pytest.raises(UserError, match=r"--topology=v5e:3x5: libtpu knows no such machine"):
        describe("v5e:3x5")


def test_a_strategy_that_does_not_divide_the_model(small_config):
    with pytest.raises(UserError, match="does not divide by 4"):
        prepare(small_config(), Candidate("fsdp_tp:4", "v5e:2x2", batch_per_device=8, changes=CHANGES))
