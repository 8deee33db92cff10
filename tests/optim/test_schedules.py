"""Schedules at chosen steps."""

import math

import numpy as np
import pytest

from vlfusion_jax.optim.schedules import learning_rate, piecewise_linear

PEAK, FINAL, WARMUP, TOTAL = 0.4, 0.1, 10, 50


def expected(kind: str, step: int) -> float:
    if step < WARMUP:
        return PEAK * step / WARMUP
    done = min(1.0, (step - WARMUP) / (TOTAL - WARMUP))
    return {
        "constant": PEAK,
        "linear": PEAK + (FINAL - PEAK) * done,
        "cosine": FINAL + (PEAK - FINAL) * (1 + math.cos(math.pi * done)) / 2,
    }[kind]


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_warm_up_then_decay(kind):
    schedule = learning_rate(kind, PEAK, FINAL, WARMUP, TOTAL)
    steps = [0, 1, 5, 9, 10, 11, 20, 30, 37, 49, 50, 80]
    np.testing.assert_allclose([schedule(s) for s in steps], [expected(kind, s) for s in steps], rtol=1e-6)


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
def test_without_warm_up_it_starts_at_the_peak(kind):
    schedule = learning_rate(kind, PEAK, FINAL, 0, TOTAL)
    np.testing.assert_allclose(schedule(0), PEAK, rtol=1e-6)
    np.testing.assert_allclose(schedule(TOTAL), PEAK if kind == "constant" else FINAL, rtol=1e-6)


def test_warm_up_may_be_the_whole_run():
    schedule = learning_rate("cosine", PEAK, FINAL, TOTAL, TOTAL)
    np.testing.assert_allclose([schedule(0), schedule(TOTAL // 2), schedule(TOTAL)], [0, PEAK / 2, PEAK], rtol=1e-6)


def test_piecewise_linear():
    value = piecewise_linear(((10, 0.0), (20, 1.0), (40, 0.5)))
    steps, values = [0, 10, 15, 20, 30, 40, 100], [0, 0, 0.5, 1, 0.75, 0.5, 0.5]
    np.testing.assert_allclose([value(s) for s in steps], values, atol=1e-7)
    assert float(piecewise_linear(())(7)) == 1
    assert float(piecewise_linear(((5, 0.25),))(0)) == 0.25
