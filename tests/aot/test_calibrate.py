"""Programs whose time is known, compiled for TPUs that are not here."""

import math

import jax
import jax.numpy as jnp
import pytest

from vlfusion_jax.cli.main import main
from vlfusion_jax.core.hardware import DEVICES
from vlfusion_jax.plan.known import calibrate, programs
from vlfusion_jax.plan.topology import describe

pytest.importorskip("libtpu", reason="needs the compiler for TPUs: pip install libtpu")


@pytest.fixture(scope="module")
def found():
    return {each.name: each for each in calibrate(describe("v5e:1x1")[0])}


def test_the_compiler_is_right_about_large_products_and_careful_about_the_rest(found):
    for name, each in found.items():
        # It reads no less than it has to, and does no less arithmetic; tiles may make both more.
        assert 0.999 < each.roofline / each.known < 1.25, name
        assert each.planned > 0.99 * each.known, name
    large = found["product of 8192 x 8192 x 8192"]
    assert large.planned == large.cycles
    assert large.planned / large.known < 1.2


def test_streams_are_planned_at_the_bandwidth_of_the_memory(found):
    each = found["2 GiB read, changed and written"]
    assert each.cycles / each.known > 2
    assert each.planned / each.known == pytest.approx(1, abs=0.03)


def test_known_times_are_those_of_the_published_rates():
    device = DEVICES["TPU v5 lite"]
    known = {each.name: each for each in programs()}
    assert known["product of 8192 x 8192 x 8192"].seconds(device) == pytest.approx(2 * 8192**3 / 197e12)
    assert known["2 GiB read, changed and written"].seconds(device) == pytest.approx(2 * 2**31 / 819e9)
    odd = known["64 products of 1025 x 1025 x 1025"]
    assert odd.flops == 64 * 2 * 1025 * 1152 * 1152


def test_programs_compute_what_their_names_say():
    for each in programs():
        result = jax.eval_shape(each.function, *(jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in each.shapes))
        sizes = [2 * math.prod(shape) for shape in each.shapes]
        moved = sum(sizes) + result.size * result.dtype.itemsize
        assert each.bytes == pytest.approx(moved, rel=0.01), each.name


def test_table(capsys, monkeypatch):
    monkeypatch.setattr("vlfusion_jax.plan.known.programs", lambda: programs()[1:2])
    assert main(["calibrate", "--topology=v5e:1x1"]) == 0
    device, heading, row = capsys.readouterr().out.splitlines()
    assert device == "TPU v5 lite"
    assert heading.split()[:3] == ["program", "known", "ms"]
    assert row.startswith("product of 6144 x 768 x 3072")


def test_a_device_of_unknown_rates(monkeypatch, capsys):
    monkeypatch.setattr("vlfusion_jax.plan.known.DEVICES", {})
    assert main(["calibrate", "--topology=v5e:1x1"]) == 2
    assert "no times are known for TPU v5 lite" in capsys.readouterr().err
