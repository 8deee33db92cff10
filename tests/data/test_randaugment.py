"""Random changes of training images, each against what it says it does."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from vlfusion_jax.config.load import load_config
from vlfusion_jax.config.validate import validate
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data import randaugment
from vlfusion_jax.data.randaugment import RECIPES, changed, rand_augment

FILL = (0, 0, 0)


@pytest.fixture
def pixels():
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(60), np.arange(80))[..., None] + np.array([0, 40, 90])
    return np.clip(smooth + rng.integers(-9, 10, smooth.shape), 0, 255).astype(np.uint8)


def change(pixels, name, value):
    return np.asarray(changed(Image.fromarray(pixels), name, value, FILL)).astype(int)


def test_the_configs_know_the_recipes():
    for name in RECIPES:
        config = load_config("configs/tiny.py")
        config.data.randaugment = name
        validate(config)
    config.data.randaugment = "vlit"
    with pytest.raises(UserError, match=r"data\.randaugment"):
        validate(config)


def test_values_are_those_published():
    vilt, albef = RECIPES["vilt"].values, RECIPES["albef"].values
    assert (len(vilt), len(albef)) == (14, 10)
    assert vilt["rotate"] == pytest.approx(9.0)
    assert vilt["color"] == pytest.approx(0.1 + 1.8 * 0.3)
    assert vilt["translate_x"] == pytest.approx(30.0)
    assert albef["rotate"] == pytest.approx(21.0)
    assert albef["brightness"] == pytest.approx(0.1 + 1.8 * 0.7)
    assert not {"invert", "cutout"} & (set(vilt) | set(albef))
    assert not {"color", "solarize", "solarize_add", "posterize"} & set(albef)


def test_colours_by_arithmetic(pixels):
    levels = pixels.astype(int)
    np.testing.assert_array_equal(change(pixels, "solarize", 70), np.where(levels < 70, levels, 255 - levels))
    added = np.minimum(levels + 33, 255)
    np.testing.assert_array_equal(change(pixels, "solarize_add", 33), np.where(added < 128, added, 255 - added))
    np.testing.assert_array_equal(change(pixels, "posterize", 3), levels & 0b11100000)
    np.testing.assert_array_equal(change(pixels, "posterize", 0.2), levels & 0b10000000)
    np.testing.assert_allclose(change(pixels, "brightness", 0.5), levels / 2, atol=1)
    grey = levels @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(change(pixels, "color", 0.0), np.repeat(grey[..., None], 3, 2), atol=1)
    np.testing.assert_allclose(change(pixels, "contrast", 0.0), grey.mean(), atol=1)
    assert change(pixels, "autocontrast", 1).min() == 0
    spread = [np.ptp(np.quantile(each, [0.1, 0.9])) for each in (change(pixels, "equalize", 1), levels)]
    assert spread[0] > spread[1]
    np.testing.assert_array_equal(change(pixels, "sharpness", 1.0), levels)


def test_places_by_arithmetic(pixels):
    levels, scale = pixels.astype(int), 384 / 60
    moved = change(pixels, "translate_x", 5 * scale)
    np.testing.assert_array_equal(moved[:, :75], levels[:, 5:])
    assert not moved[:, 75:].any()
    np.testing.assert_array_equal(change(pixels, "translate_y", -7 * scale)[7:], levels[:-7])
    sheared = change(pixels, "shear_x", 0.1)
    for row in (0, 20, 50):
        shift = round(0.1 * (row + 0.5))
        np.testing.assert_array_equal(sheared[row, : 80 - shift - 1], levels[row, shift:-1])
    np.testing.assert_array_equal(change(pixels, "rotate", 180)[1:-1, 1:-1], levels[::-1, ::-1][1:-1, 1:-1])
    np.testing.assert_array_equal(change(pixels, "shear_y", 0.0), levels)


@pytest.mark.parametrize("name", RECIPES)
def test_draws(monkeypatch, pixels, name):
    recipe, drawn = RECIPES[name], []

    def noted(image, which, value, fill):
        assert abs(value) == pytest.approx(recipe.values[which])
        assert fill == recipe.fill
        drawn.append((which, value > 0))
        return image

    monkeypatch.setattr(randaugment, "changed", noted)
    for seed in range(1000):
        rand_augment(pixels, recipe, np.random.default_rng(seed))
    assert len(drawn) == pytest.approx(1000 * recipe.count * recipe.share, rel=0.1)
    of_each = Counter(which for which, _ in drawn)
    assert set(of_each) == set(recipe.values)
    assert max(of_each.values()) < 1.5 * len(drawn) / len(recipe.values)
    assert np.mean([positive for which, positive in drawn if which == "rotate"]) == pytest.approx(0.5, abs=0.2)


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_seed_the_same_image(pixels, name):
    results = [rand_augment(pixels, RECIPES[name], np.random.default_rng(seed)) for seed in (1, 1, 2, 3, 4, 5)]
    assert all(each.shape == pixels.shape and each.dtype == np.uint8 for each in results)
    np.testing.assert_array_equal(results[0], results[1])
    assert any((each != results[0]).any() for each in results[2:])
