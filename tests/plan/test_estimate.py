"""Times from cycles and bytes, as arithmetic says, on a machine made up for it."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from tests.plan.test_collectives import ASYNCHRONOUS
from vlfusion_jax.core.hardware import DEVICES, Device
from vlfusion_jax.plan.estimate import bandwidth, compute_time, estimate, known_device
from vlfusion_jax.plan.gpus import bandwidth_of_gpus
from vlfusion_jax.plan.kernels import UNPRICED, Kernel

KIND = "made up"
DEVICE = Device(1e12, 1000.0, 10.0, ring=4, dims=1, clock=500.0)
CYCLES = (
    "%scattered = bf16[128,256]{1,0} fusion(%q), kind=kCustom, calls=%all-reduce-scatter.1, "
    'backend_config={"window_config":{"estimated_cycles":"7000"}}'
)
PROGRAM = ASYNCHRONOUS.replace(
    "%scattered = bf16[128,256]{1,0} fusion(%q), kind=kCustom, calls=%all-reduce-scatter.1", CYCLES
).replace(
    "%next = s32[] add(%two, %moved)",
    '%next = s32[] add(%two, %moved), backend_config={"window_config":{"estimated_cycles":"30"}}',
)


def mesh(data: int, tensor: int) -> SimpleNamespace:
    """The axis `data` lies along one dim of a torus, `tensor` along the other."""
    devices = np.empty((data, tensor), object)
    for place in np.ndindex(data, tensor):
        devices[place] = SimpleNamespace(coords=(*place, 0), device_kind=KIND, platform="tpu")
    return SimpleNamespace(
        devices=devices, axis_names=("data", "tensor"), shape={"data": data, "tensor": tensor}, size=devices.size
    )


@pytest.mark.parametrize(
    ("kind", "axes", "ports"),
    [
        ("all-gather", ("data",), 2),  # a ring of 4
        ("all-gather", ("tensor",), 1),  # two neighbours
        ("all-reduce", ("data", "tensor"), 3),
        ("collective-permute", ("data",), 1),
        ("all-gather", (), 1),
    ],
)
def test_bandwidth(kind, axes, ports):
    assert bandwidth(kind, axes, mesh(4, 2), DEVICE) == ports * 10.0


@pytest.mark.parametrize(("data", "tensor", "ports"), [(4, 4, 4), (8, 4, 4), (4, 2, 2), (2, 4, 2)])
def test_dims_close_to_rings_all_or_none(data, tensor, ports):
    torus = dataclasses.replace(DEVICE, dims=2)
    assert bandwidth("all-gather", ("data", "tensor"), mesh(data, tensor), torus) == ports * 10.0


def test_what_must_be_known_before_compiling(monkeypatch):
    with pytest.raises(ValueError, match="no estimate for made up: its memory or its links are not known"):
        known_device(mesh(4, 2))
    monkeypatch.setitem(DEVICES, KIND, DEVICE)
    two = mesh(4, 2)
    assert known_device(two) is DEVICE
    for number, device in enumerate(two.devices.flat):
        device.slice_index = number % 2
    with pytest.raises(ValueError, match="the network between slices of made up is not published"):
        known_device(two)


@pytest.fixture(autouse=True)
def least(monkeypatch):
    """What the strategy asks for; the run is made up."""
    monkeypatch.setattr("vlfusion_jax.plan.estimate.least_bytes", lambda run: 123.0)


def run_and_program(text: str = PROGRAM, compute: str = "bfloat16") -> tuple[SimpleNamespace, SimpleNamespace]:
    config = SimpleNamespace(train=SimpleNamespace(batch_size=48), precision=SimpleNamespace(compute=compute))
    run = SimpleNamespace(strategy=SimpleNamespace(mesh=mesh(4, 2)), config=config, flops_per_step=8e12)
    memory = SimpleNamespace(
        argument_size_in_bytes=300, output_size_in_bytes=290, alias_size_in_bytes=280, temp_size_in_bytes=400,
        generated_code_size_in_bytes=5,
    )  # fmt: skip
    return run, SimpleNamespace(as_text=lambda: text, memory_analysis=lambda: memory)


def test_a_step(monkeypatch):
    monkeypatch.setitem(DEVICES, KIND, DEVICE)
    found = estimate(*run_and_program())
    assert found.memory_bytes == 300 + 10 + 400 + 5
    turns = 12
    compute = (7000 + turns * 30) / 500
    beside = turns * 64 * 32 * 2 / 10  # gathered over two neighbours, while work goes on
    alone = 3 / 4 * 512 * 256 * 2 / 20
    assert found.compute_seconds == compute
    assert [each.seconds for each in found.traffic] == pytest.approx([alone, beside])
    assert [each.asynchronous for each in found.traffic] == [0, 1]
    assert found.step_seconds == pytest.approx(max(compute, beside) + alone)
    assert found.exposed_seconds == pytest.approx(found.step_seconds - compute)
    assert found.examples_per_second == pytest.approx(48 / found.step_seconds)
    assert found.least_bytes == 123.0
    assert found.mfu == pytest.approx(8e12 / 8 / found.step_seconds / 1e12)
    assert estimate(*run_and_program(compute="float32")).mfu is None
    assert (found.compute_by, found.roofline_seconds) == ("cycles", None)
    # The largest number stands for "not known".
    part = estimate(*run_and_program(PROGRAM.replace('"7000"', f'"{2**63 - 1}"')))
    assert (part.unpriced, found.unpriced) == (("scattered",), ())
    assert part.compute_seconds == turns * 30 / 500


def test_cycles_are_calibrated(monkeypatch):
    counted = dataclasses.replace(DEVICE, memory_bandwidth=8e9, counted_bandwidth=2e9)
    monkeypatch.setitem(DEVICES, KIND, counted)
    found = estimate(*run_and_program())
    assert found.cycle_seconds == (7000 + 12 * 30) / 500
    assert found.compute_seconds == pytest.approx(found.cycle_seconds / 4, rel=1e-3)

    def seconds(**changes):
        kernel = dataclasses.replace(Kernel("one", 3, 0.0, 0, 64, False, 50), **changes)
        return compute_time([kernel, Kernel("product", 1, 1.0, 16, 0, False, 500)], counted)[0] - 1

    assert seconds() == pytest.approx(3 * 50 / 4 / 500)
    assert seconds(flops=1e6) == pytest.approx(3 * 50 / 500)
    assert seconds(bytes=8_000_000_000) == pytest.approx(3)  # no faster than its memory
    assert seconds(flops=2e12) == pytest.approx(6)  # nor than its products
    assert seconds(cycles=None, bytes=8_000_000_000) == pytest.approx(3)  # a scatter
    assert seconds(cycles=None, bytes=8_000_000_000, beside=True) == 0  # a copy that only begins
    assert seconds(cycles=UNPRICED, bytes=8_000_000_000) == 0


def test_a_step_by_its_roofline(monkeypatch):
    monkeypatch.setitem(DEVICES, KIND, dataclasses.replace(DEVICE, memory_bandwidth=2.0))
    both = estimate(*run_and_program())
    # Numbers of 4 bytes, copied before the loop and in each turn, added to another, and compared; and what is
    # scattered, which comes from memory on the chip.
    turns = 12
    seconds = (8 + turns * (8 + 12 + 9) + 128 * 256 * 2) / 2.0
    assert (both.compute_by, both.compute_seconds) == ("cycles", seconds)  # which no cycles can undercut
    assert both.roofline_seconds == seconds
    by_memory = estimate(*run_and_program(ASYNCHRONOUS))
    assert (by_memory.compute_by, by_memory.compute_seconds) == ("roofline", seconds)
    assert by_memory.program_flops == 0


@pytest.mark.parametrize(
    ("kind", "group", "expected"),
    [
        ("all-gather", range(8), 450e9),
        ("all-gather", range(2, 6), 450e9),
        ("all-reduce", range(16), 400e9),  # eight ports of 50 GB/s, less than NVLink
        ("reduce-scatter", range(0, 32, 8), 50e9),
        ("all-gather", [0, 1, 8, 9], 100e9),
        ("all-to-all", range(16), 50e9),
        ("collective-permute", [0, 8], 50e9),
        ("collective-permute", [0, 1], 450e9),
    ],
)
def test_bandwidth_of_gpus(kind, group, expected):
    devices = [SimpleNamespace(id=i) for i in group]
    assert bandwidth_of_gpus(kind, devices, DEVICES["NVIDIA H100 80GB HBM3"]) == expected
    lined_up = SimpleNamespace(devices=np.array(devices, object), axis_names=("data",))
    assert bandwidth(kind, ("data",), lined_up, DEVICES["NVIDIA H100 80GB HBM3"]) == expected


def test_what_has_no_estimate(monkeypatch):
    with pytest.raises(ValueError, match="no estimate for made up"):
        estimate(*run_and_program())
    monkeypatch.setitem(DEVICES, KIND, DEVICE)
    with pytest.raises(ValueError, match="no estimate: how often these loops run is not known: loop"):
        estimate(*run_and_program(PROGRAM.replace("direction=LT", "direction=NE")))
    with pytest.raises(ValueError, match="bandwidth of this device's memory is not known"):
        estimate(*run_and_program(ASYNCHRONOUS))


def test_a_kernel_of_pallas_whose_notes_stand_on_lines_of_their_own(monkeypatch):
    monkeypatch.setitem(DEVICES, KIND, DEVICE)
    kernel = (
        '  %splash = bf16[64,32]{1,0} custom-call(%p), custom_call_target="tpu_custom_call", '
        'frontend_attributes={kernel_metadata={\n"xprof_metadata":"{\\"block_q\\": 256}"\n}}, metadata={op_name="a"}\n'
    )
    first = "  %one = s32[] constant(1)\n"
    assert first in PROGRAM
    found = estimate(*run_and_program(PROGRAM.replace(first, kernel + first)))
    assert found.unpriced == ("splash",)
    assert found.compute_seconds == estimate(*run_and_program()).compute_seconds
