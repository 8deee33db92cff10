"""Programs whose time is known, compiled for TPUs that are not here."""

import jax
import pytest

from vlfusion_jax.cli.main import main
from vlfusion_jax.core.hardware import DEVICES
from vlfusion_jax.plan.known import calibrate, programs
from vlfusion_jax.plan.topology import describe

pytest.importorskip("libtpu", reason="needs the compiler for TPUs: pip install libtpu")


@pytest.fixture(scope="module")
def found():
    return {each.name: each for each in calibrate(describe("v5e:1x1")[0])}


def test_no_program_is_planned_faster_than_it_can_be(found):
    for name, each in found.items():
        # It reads no less than it has to, and does no less arithmetic; tiles may make both more.
        assert 0.999 < each.roofline / each.known < 1.25, name
        assert each.planned >= each.roofline, name
        assert each.planned <= each.cycles or each.planned == each.roofline, name


def test_large_products_and_streams_are_planned_well(found):
    for name, high in (
        ("product of 8192 x 8192 x 8192", 1.2),
        ("2 GiB read, changed and written", 1.1),
        ("2 GiB of f32 read, changed and written", 1.1),
        ("Adam's update of 2^27 f32 numbers", 1.1),
        ("2 GiB summed along rows", 1.7),
    ):
        assert found[name].planned / found[name].known < high, name


def test_known_times_are_those_of_the_published_rates():
    device = DEVICES["TPU v5 lite"]
    known = {each.name: each for each in programs(device.tile)}
    assert known["product of 8192 x 8192 x 8192"].seconds(device) == pytest.approx(2 * 8192**3 / 197e12)
    assert known["2 GiB read, changed and written"].seconds(device) == pytest.approx(2 * 2**31 / 819e9)
    assert known["64 products of 1025 x 1025 x 1025"].flops == 64 * 2 * 1025 * 1152 * 1152
    assert {each.name: each for each in programs(1)}["64 products of 1025 x 1025 x 1025"].flops == 64 * 2 * 1025**3


def test_programs_move_what_their_names_say():
    for each in programs(128):
        arguments = [jax.ShapeDtypeStruct(shape, each.dtype) for shape in each.shapes]
        results = jax.tree.leaves(jax.eval_shape(each.function, *arguments))
        moved = sum(array.size * array.dtype.itemsize for array in (*arguments, *results))
        assert each.bytes == pytest.approx(moved, rel=0.01), each.name


def test_table(capsys, monkeypatch):
    monkeypatch.setattr("vlfusion_jax.plan.known.programs", lambda tile: programs(tile)[1:2])
    assert main(["calibrate", "--topology=v5e:1x1"]) == 0
    device, heading, row = capsys.readouterr().out.splitlines()
    assert device == "TPU v5 lite"
    assert heading.split()[:3] == ["program", "known", "ms"]
    assert row.startswith("product of 6144 x 768 x 3072")


def test_a_device_of_unknown_rates(monkeypatch, capsys):
    monkeypatch.setattr("vlfusion_jax.plan.known.DEVICES", {})
    assert main(["calibrate", "--topology=v5e:1x1"]) == 2
    assert "no times are known for TPU v5 lite" in capsys.readouterr().err
