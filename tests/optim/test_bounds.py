"""A temperature and a scale stay within their bounds, whatever the gradient; what scales or weights is not decayed."""

import math

import jax
import numpy as np
import optax
import pytest

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.optim.bounds import bounds_of, within
from vlfusion_jax.optim.optimizer import make_optimizer


def make_config(**optim):
    config = default_config()
    config.optim.update({"lr": 0.2, "schedule": "constant", "warmup_steps": 0, "clip_norm": 0.0} | optim)
    return config


START = math.log(1 / 0.07)


def tree(temperature=0.07, log_scale=START):
    f32 = np.float32
    return {
        "head_contrastive": {"temperature": f32(temperature), "log_scale": f32(log_scale)},
        "head_itm": {"classes": {"kernel": np.full((2, 2), 3, f32)}},
        "log_variance": {"mlm": f32(1.0), "itc": f32(-2.0)},
        "temperature": f32(0.3),  # of something else
    }


def train(params, gradient, config, steps=12):
    """Parameters after every step under the same gradient."""
    optimizer = make_optimizer(config, params)
    state, seen = optimizer.init(params), []
    for _ in range(steps):
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        seen.append(flatten(jax.device_get(params)))
    return seen


@pytest.mark.parametrize(("sign", "temperature", "log_scale"), [(1, 0.001, -math.inf), (-1, 0.5, math.log(100))])
def test_within_bounds_and_back(sign, temperature, log_scale):
    params = tree()
    gradient = jax.tree.map(lambda x: np.full_like(x, sign), params)
    seen = train(params, gradient, make_config(weight_decay=0.0))
    for step, values in enumerate(seen, 1):
        low, high = np.float32(0.001), np.float32(0.5)
        assert low * (1 - 1e-5) <= values["head_contrastive/temperature"] <= high * (1 + 1e-6)
        assert values["head_contrastive/log_scale"] <= math.log(100) * (1 + 1e-6)
        # All else moves by the learning rate, as Adam does under an even gradient.
        for path, start in flatten(params).items():
            if path not in bounds_of(flatten(params)):
                np.testing.assert_allclose(values[path], start - sign * 0.2 * step, atol=1e-5, err_msg=path)
    np.testing.assert_allclose(seen[-1]["head_contrastive/temperature"], temperature, rtol=1e-5)
    if sign < 0:
        np.testing.assert_allclose(seen[-1]["head_contrastive/log_scale"], log_scale, rtol=1e-6)
    else:
        np.testing.assert_allclose(seen[-1]["head_contrastive/log_scale"], START - 2.4, rtol=1e-4)
    ends = {path: values for path, values in seen[-1].items() if path.startswith("head_contrastive/")}
    away = tree(ends["head_contrastive/temperature"], ends["head_contrastive/log_scale"])
    (back,) = train(away, jax.tree.map(lambda g: -0.5 * g, gradient), make_config(weight_decay=0.0, lr=0.01), steps=1)
    np.testing.assert_allclose(back["head_contrastive/temperature"], temperature + sign * 0.01, rtol=1e-3)


def test_an_update_within_bounds_is_left_as_it_is():
    params = tree()
    updates = jax.tree.map(lambda x: np.full_like(x, 0.01), params)
    bounds = bounds_of(flatten(params))
    cut, _ = within(bounds).update(updates, within(bounds).init(params), params)
    for path, update in flatten(cut).items():
        np.testing.assert_allclose(update, np.float32(0.01), rtol=1e-4 if path in bounds else 0, err_msg=path)
    assert set(bounds) == {"head_contrastive/temperature", "head_contrastive/log_scale"}


def test_a_scale_beside_a_bias_has_no_bound():
    params = {"head_contrastive": {"log_scale": np.float32(4.7), "bias": np.float32(-12)}}
    after = train(params, jax.tree.map(np.zeros_like, params), make_config(weight_decay=0.0), steps=1)[0]
    assert float(after["head_contrastive/log_scale"]) == np.float32(4.7)


def test_only_kernels_decay():
    params = tree()
    nothing = jax.tree.map(np.zeros_like, params)
    after = train(params, nothing, make_config(weight_decay=0.1), steps=3)[-1]
    moved = {path for path, leaf in flatten(params).items() if np.abs(after[path] - leaf).max() > 1e-6}
    assert moved == {"head_itm/classes/kernel"}


def test_a_frozen_temperature_stays():
    params = tree()
    ones = jax.tree.map(np.ones_like, params)
    params["head_contrastive"]["temperature"] = np.float32(0.7)  # out of bounds, and not to be moved
    after = train(params, ones, make_config(freeze=("temperature",)))[-1]
    assert float(after["head_contrastive/temperature"]) == np.float32(0.7)
    assert float(after["temperature"]) == np.float32(0.3)
    assert after["log_variance/mlm"] < 0
