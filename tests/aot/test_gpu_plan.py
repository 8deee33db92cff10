"""Training steps compiled for GPUs that are not here, and what the plan says of them."""

import importlib.util
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from vlfusion_jax.cli.main import main
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.hardware import DEVICES
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.data.pipeline import batch_shapes
from vlfusion_jax.plan.candidate import Candidate, compile_step, prepare
from vlfusion_jax.plan.collectives import collectives
from vlfusion_jax.plan.estimate import estimate
from vlfusion_jax.plan.gpus import GPUS
from vlfusion_jax.plan.hlo import parse
from vlfusion_jax.plan.kernels import program_flops
from vlfusion_jax.plan.topology import describe

PLUGIN = importlib.util.find_spec("jax_cuda13_plugin") or importlib.util.find_spec("jax_cuda12_plugin")
needs_plugin = pytest.mark.skipif(not PLUGIN, reason="needs the compiler for GPUs: pip install 'vlfusion_jax[cuda13]'")
CHANGES = {
    "model.width": 256, "model.heads": 2, "model.mlp_width": 512, "precision.compute": "bfloat16",
    "data.vocab_size": 512,
}  # fmt: skip


@pytest.mark.skipif(bool(PLUGIN), reason="the compiler for GPUs is here")
def test_a_missing_compiler():
    with pytest.raises(UserError, match=r"pip install 'vlfusion_jax\[cuda13\]'"):
        describe("h100:8")


@needs_plugin
@pytest.mark.parametrize("name", GPUS)
def test_machines(name):
    devices = describe(f"{name}:16")
    assert [each.id for each in devices] == list(range(16))
    assert [each.process_index for each in devices] == [0] * 8 + [1] * 8  # nodes of eight
    assert DEVICES[devices[0].device_kind].nvlink_bandwidth
    assert len(describe(f"{name}:1")) == 1


@needs_plugin
def test_a_hand_made_program():
    mesh = Mesh(np.array(describe("h100:8")).reshape(4, 2), ("data", "tensor"))

    def function(kernels, x):
        def layer(x, kernel):
            return jnp.tanh(x @ jax.lax.all_gather(kernel, "data", tiled=True)), None

        return jax.lax.scan(layer, x, kernels)[0]

    specs = PartitionSpec(None, "data"), PartitionSpec("tensor")
    mapped = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=specs[1], check_vma=False)
    shapes = (6, 512, 512), (256, 512)
    abstract = [
        jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=NamedSharding(mesh, spec))
        for shape, spec in zip(shapes, specs, strict=True)
    ]
    program = parse(jax.jit(mapped).trace(*abstract).lower(lowering_platforms=("cuda",)).compile().as_text())
    assert program_flops(program) == 6 * 2 * 128 * 512 * 512
    [found] = collectives(program, mesh.shape)
    assert (found.kind, found.axes, found.times) == ("all-gather", ("data",), 6)
    assert found.sent_bytes == 6 * 3 * 128 * 512 * 2


@needs_plugin
@pytest.mark.parametrize("topology", ["h100:8", "a100:16"])
def test_a_training_step(small_config, topology):
    run = prepare(small_config(), Candidate("fsdp", topology, batch_per_device=8, answers=7, changes=CHANGES))
    compiled, _ = compile_step(run)
    found = estimate(run, compiled)
    # Counted here from the shapes alone.
    parts = [(leaf, leaf.sharding) for leaf in flatten(run.abstract_state).values()]
    parts += [(each, run.batch_sharding) for each in batch_shapes(run.config, run.vocabulary).values()]
    state = sum(math.prod(placed.shard_shape(each.shape)) * np.dtype(each.dtype).itemsize for each, placed in parts)
    assert abs(found.argument_bytes / state - 1) < 0.01
    assert found.compute_by == "roofline"
    assert found.compute_seconds == found.roofline_seconds
    assert 0 < found.compute_seconds <= found.step_seconds < 1
    assert 0 < found.mfu < 1
    # Nobody asks for the gradient of the pixels; layers may be computed twice.
    assert 0.9 < found.program_flops / found.model_flops < 4 / 3
    gathered = next(each for each in found.traffic if each.kind == "all-gather")
    kind = run.strategy.mesh.devices.flat[0].device_kind
    links = 450e9 if topology == "h100:8" else min(300e9, 8 * 25e9)
    assert gathered.axes == ("fsdp",)
    assert gathered.seconds == pytest.approx(gathered.sent_bytes / links)
    assert found.capacity_bytes == DEVICES[kind].memory_bytes == 80e9


@needs_plugin
def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("VLFUSION_CACHE", str(tmp_path / "cache"))
    words = ["plan", "--config=configs/tiny.py", "--topology=h200:1", "--batch_per_device=8", f"--out={tmp_path}"]
    assert main([*words, "--strategies=dp"]) == 0
    assert " roofline " in capsys.readouterr().out
    [row] = json.loads((tmp_path / "plan.json").read_text())
    assert row["estimate"]["compute_by"] == "roofline"
    assert row["estimate"]["traffic"] == []
