"""Measuring beside predicting, with programs and machines made up for it."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.plan import measure
from vlfusion_jax.plan.candidate import Candidate
from vlfusion_jax.plan.hlo import parse
from vlfusion_jax.plan.measure import Measured, OneAtATime
from vlfusion_jax.plan.measured_table import MeasuredRow, format_measured
from vlfusion_jax.plan.prediction import Prediction, planned, read_plan
from vlfusion_jax.plan.probes import Machine, machine, probes
from vlfusion_jax.plan.profile import heaviest
from vlfusion_jax.plan.random_batch import random_batch
from vlfusion_jax.plan.timing import Timing
from vlfusion_jax.train.setup import build


class Program:
    """A candidate that counts its updates, and the states that are in memory."""

    alive = 0

    def __init__(self, label: str, program_bytes: int, log: list, fails: bool = False) -> None:
        self.candidate = SimpleNamespace(label=label)
        self.program_bytes, self.log, self.fails, self.compile_seconds = program_bytes, log, fails, 0.0
        mesh = SimpleNamespace(size=4, devices=np.array(jax.devices()[:1]))
        config = SimpleNamespace(
            train=SimpleNamespace(batch_size=48), precision=SimpleNamespace(compute="float32"), seed=0
        )
        self.run = SimpleNamespace(config=config, flops_per_step=8e12, strategy=SimpleNamespace(mesh=mesh))
        self.device = mesh.devices[0]

    def begin(self) -> tuple:
        state = State()
        assert Program.alive == 1
        return state, "batch"

    def compiled(self, state, batch) -> tuple:
        if self.fails:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no room\nmore of it")
        self.log.append(self.candidate.label)
        return state, {}


class State:
    """It says so while it is in memory."""

    def __init__(self) -> None:
        Program.alive += 1

    def __del__(self) -> None:
        Program.alive -= 1


def test_one_state_at_a_time_and_the_smallest_first(monkeypatch):
    log = []
    ready = [Program("large", 300, log), Program("none", 200, log, fails=True), Program("small", 100, log)]
    marks = iter([50, 120, 120])  # before, after `small`, after `large`, which sets no new one
    monkeypatch.setattr(measure, "_peak_bytes", lambda: next(marks))
    found, problems, rates = measure.measure(ready, rounds=2)
    assert log == ["small", "large", *(["large"] * 2 + ["small"] * 2) * 2]
    assert problems == {"none": "RESOURCE_EXHAUSTED: no room"}
    assert (found["small"].memory_bytes, found["small"].memory_source) == (120, "device")
    assert (found["large"].memory_bytes, found["large"].memory_source) == (300, "program")
    assert found["small"].examples_per_second == pytest.approx(48 / found["small"].seconds.median)
    assert found["small"].mfu is None  # nobody publishes the peak of these cores
    assert rates.devices == 8


def test_a_failure_leaves_no_state_behind():
    stage, broken = OneAtATime(), Program("broken", 0, [], fails=True)
    with pytest.raises(jax.errors.JaxRuntimeError):
        stage.update(broken)
    log = []
    stage.update(Program("next", 0, log), 3)
    assert log == ["next"] * 3


def test_a_random_batch(small_config, small_vocabulary):
    run = build(small_config(), small_vocabulary)
    batch = jax.jit(lambda: random_batch(run), out_shardings=run.batch_sharding)()
    texts = [value for name, value in batch.items() if name.endswith("/text")]
    assert len(texts) == 3
    for text in texts:
        assert 0 <= text.min() < 5 < small_vocabulary.size - 5 < text.max() < small_vocabulary.size
    assert batch["image"].dtype == jnp.uint8
    assert int(batch["image"].max()) > 200
    assert int(batch["masked/positions"].max()) < run.config.data.caption_length
    assert int(batch["question/answer_ids"].max()) < len(small_vocabulary.answers)
    assert all(bool((value == 1).all()) for name, value in batch.items() if "mask" in name.rpartition("/")[2])
    assert all(value.sharding.is_equivalent_to(run.batch_sharding, value.ndim) for value in batch.values())


@pytest.mark.parametrize("target", ["class", "kl"])
def test_a_random_batch_of_regions(small_config, small_vocabulary, target):
    config = small_config(data__regions=5, tasks__mrm__weight=1.0, tasks__mrm__target=target, tasks__mrm__classes=4)
    config.model = hyperparameters("uniter", "tiny", region_patch=0, region_features=6)
    batch = random_batch(build(config, small_vocabulary))
    assert "image" not in batch
    assert batch["regions"].shape == (16, 5, 6)
    assert float(batch["regions"].std()) > 0.2
    assert 0 <= batch["boxes"].min() < 0.1 < 0.9 < batch["boxes"].max() <= 1
    assert bool((batch["region_mask"] == 1).all())
    if target == "class":
        assert set(np.unique(batch["region_labels"])) == set(range(4))
    else:
        np.testing.assert_allclose(batch["region_classes"].sum(-1), 1)


def compiled_on_two(function, *shapes):
    mesh = Mesh(np.array(jax.devices()[:2]), ("data",))
    split = NamedSharding(mesh, P("data"))
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=split) for shape in shapes]
    run = SimpleNamespace(strategy=SimpleNamespace(mesh=mesh))
    return run, jax.jit(function, out_shardings=NamedSharding(mesh, P())).lower(*arguments).compile()


def test_the_roofline_of_a_machine():
    # Of a product and a sum over devices: by each rate in turn, the others being high.
    run, compiled = compiled_on_two(lambda x: (x @ x.swapaxes(1, 2)).sum(0), (2, 128, 64))
    fast = 1e30
    product = 2 * 128 * 128 * 64
    sent = 2 * 1 / 2 * 128 * 128 * 4
    assert Machine(1e9, fast, fast, "float32", 2).step_seconds(run, compiled) == pytest.approx(product / 1e9)
    assert Machine(fast, fast, 1e6, "float32", 2).step_seconds(run, compiled) == pytest.approx(sent / 1e6)
    streamed = Machine(fast, 1e6, fast, "float32", 2).step_seconds(run, compiled)
    assert streamed * 1e6 >= 4 * (128 * 64 + 128 * 128)  # operand and result at least


def test_rates_follow_from_times():
    def took(seconds: float) -> Timing:
        return Timing(seconds, 0.0, 0.0)

    found = machine({"a product": took(2.0), "an update in place": took(4.0)}, "float32", 1)
    assert found.product == 1024**3
    assert found.stream == 2 * 4 * 2**23 / 4
    assert found.exchange is None
    several = machine({name: took(1.0) for name in probes(jax.devices()[:4], "float32")}, "float32", 4)
    assert several.exchange == 2 * 3 / 4 * 4 * 2**23
    assert "4 devices" in str(several)


def test_a_plan_is_compared_where_it_is_of_the_same_batch(tmp_path):
    estimate = {"step_seconds": 0.5, "examples_per_second": 96.0, "model_flops": 2e12}
    rows = [
        {"candidate": vars(Candidate("dp", "v5e:2x2", changes={"model.remat": "full"})), "estimate": estimate},
        {"candidate": vars(Candidate("fsdp", "v5e:2x2")), "estimate": None},
    ]
    (tmp_path / "plan.json").write_text(json.dumps(rows))
    plan = read_plan(tmp_path / "plan.json")
    ready = Program("dp model.remat=full", 0, [])
    assert planned(ready, plan) == (0.5, "")
    other = Program("dp model.remat=full", 0, [])
    other.run.flops_per_step = 4e12
    assert planned(other, plan).missing == "the plan is of another model, or of another number of devices"
    ready.run.config.train.batch_size = 32
    assert planned(ready, plan).missing == "the plan is for batches of 48 images, measured were 32"
    assert "the plan has no fsdp; it has dp model.remat=full" in planned(Program("fsdp", 0, []), plan).missing
    for content in (b"{", b"[1]", b'{"a": 1}', b"\x89PNG\xff"):
        (tmp_path / "plan.json").write_bytes(content)
        with pytest.raises(UserError, match=r"is no plan\.json"):
            read_plan(tmp_path / "plan.json")


def test_the_table():
    times = Timing(0.2, 0.1, 0.3)
    rows = [
        MeasuredRow("dp", Measured(times, 40.0, 0.25, 2**30, "device"), Prediction(0.15), 3.0),
        MeasuredRow("fsdp", Measured(times, 40.0, None, 2**30, "program"), Prediction(None, "no cycles"), 3.0),
    ]
    _, _, first, second, *below = format_measured(rows, {"zero1": "too large"}).splitlines()
    assert " ".join(first.split()) == "dp 40.0 200.0 100.0 - 300.0 150.0 -25 % 25.0 % 1.000 3"
    assert second.split()[-2:] == ["1.000*", "3"]
    assert below[:2] == ["zero1: not measured: too large", "fsdp: no prediction: no cycles"]
    assert rows[0].error == pytest.approx(-0.25)


def test_the_heaviest_operations(tmp_path):
    def function(x):
        def turn(i, x):
            return (x @ x) / 800

        return jax.lax.fori_loop(0, 4, turn, x)

    x = jnp.ones((800, 800))
    compiled = jax.jit(function).lower(x).compile()
    compiled(x).block_until_ready()
    with jax.profiler.trace(tmp_path):
        for _ in range(2):
            compiled(x).block_until_ready()
    [file] = tmp_path.rglob("*.xplane.pb")
    program = parse(compiled.as_text())
    found = heaviest(file, program, calls=2, count=100)
    assert "dot_general" in found[0].origin
    assert found[0].share > 0.5
    assert sum(each.share for each in found) == pytest.approx(1)
    assert "while" not in {instruction.opcode for _, instruction, _ in program.executed()
                           if instruction.name in {each.name for each in found}}  # fmt: skip
    with pytest.raises(UserError, match="names no operation"):
        heaviest(file, parse("ENTRY %main (x: f32[]) -> f32[] {\n  ROOT %y = f32[] parameter(0)\n}"), 2)
