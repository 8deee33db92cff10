"""What dropout zeroes, and what it makes of the rest."""

import jax
import numpy as np
import pytest

from vlfusion_jax.ops.dropout import dropout, kept_share

RATE = 0.3


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(40, 50, 7)).astype(np.float32)


def test_values_are_kept_scaled_or_zeroed_independently(x):
    dropped = np.asarray(dropout(x, RATE, jax.random.key(1)))
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], (x / kept_share(RATE))[kept], rtol=1e-6)
    deviation = (RATE * (1 - RATE) / x.size) ** 0.5
    assert abs(1 - kept.mean() - RATE) < 5 * deviation
    together = (kept[:, 1:] & kept[:, :-1]).mean()
    assert abs(together - (1 - RATE) ** 2) < 0.02
    of_one_word = (kept[..., :3] & kept[..., 4:]).mean()
    assert abs(of_one_word - (1 - RATE) ** 2) < 0.02
    assert (kept != (np.asarray(dropout(x, RATE, jax.random.key(2))) != 0)).any()


def test_the_gradient_passes_where_values_are_kept(x):
    key = jax.random.key(1)
    grad = jax.grad(lambda x: dropout(x, RATE, key).sum())(x)
    np.testing.assert_allclose(grad, (np.asarray(dropout(x, RATE, key)) != 0) / kept_share(RATE), rtol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.25, 1e-5, 0.999])
def test_the_share_kept_is_that_asked_for_to_16_bits(rate):
    assert abs(kept_share(rate) - (1 - rate)) <= 2**-17


@pytest.mark.parametrize(("rate", "key"), [(RATE, None), (0.0, jax.random.key(1))])
def test_without_key_or_rate_nothing_changes(x, rate, key):
    assert dropout(x, rate, key) is x
