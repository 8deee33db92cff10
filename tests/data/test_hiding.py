"""Which cells of an image are hidden: as many as asked for, never padding, and patches as the model has them."""

import numpy as np
import pytest

from vlfusion_jax.config.cells import patch_side, reads_regions
from vlfusion_jax.data.hiding import hide_cells, max_hidden, shown_patches
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.models.spec.inputs import ImageInput, RegionInput
from vlfusion_jax.models.spec.streams import IMAGE


def cells_with_pixels(mask, patch):
    rows, columns = mask.shape[0] // patch, mask.shape[1] // patch
    return [
        row * columns + column
        for row in range(rows)
        for column in range(columns)
        if mask[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch].any()
    ]


@pytest.mark.parametrize("rate", [0.01, 0.15, 0.5, 0.99])
def test_as_many_as_asked_for_and_never_padding(rate):
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = np.zeros((35, 50), np.uint8)
        mask[: rng.integers(1, 36), : rng.integers(1, 51)] = 1
        valid = cells_with_pixels(mask, 8)
        hidden = hide_cells(shown_patches(mask, 8), rate, rng)
        assert hidden.shape == (max_hidden(rate, 24),)
        assert hidden.dtype == np.int32
        numbers = hidden[hidden >= 0]
        assert len(numbers) == max(1, round(rate * len(valid)))
        assert (np.diff(numbers) > 0).all()
        assert set(numbers) <= set(valid)
        assert (hidden[len(numbers) :] == -1).all()


def test_every_cell_is_hidden_as_often():
    rng, counts = np.random.default_rng(1), np.zeros(24)
    for _ in range(2000):
        counts[hide_cells(np.ones(24, bool), 0.25, rng)] += 1
    assert counts.sum() == 2000 * 6
    np.testing.assert_allclose(counts / 2000, 0.25, atol=0.05)


def test_nothing_where_all_is_padding():
    assert (hide_cells(np.zeros(4, bool), 0.5, np.random.default_rng(0)) == -1).all()


VARIANTS = [(family, {}) for family in FAMILIES] + [
    ("single_stream", {"image_tokens": "conv"}), ("uniter", {"region_patch": 0}),
    ("gated_fusion", {"image_tower": "regions_uniter", "region_patch": 0}), ("lxmert", {"region_patch": 4}),
    *(("late_fusion", {"image_tower": name, "region_patch": 4}) for name in (
        "patch", "conv", "transformer", "vit", "clip_vit", "resnet50", "vgg16", "regions_lxmert", "regions_uniter",
    )),
]  # fmt: skip


@pytest.mark.parametrize(("family", "changes"), VARIANTS)
def test_patches_are_those_of_the_model(family, changes):
    model = hyperparameters(family, "tiny", **changes)
    spec = FAMILIES[family].spec(model, Given(50, 7, 8, (64, 64)))
    image = next((each for each in spec.inputs if each.stream == IMAGE), None)
    if image is None or (isinstance(image, ImageInput) and image.tokens != "patch"):
        assert patch_side(model) == 0
    else:
        assert patch_side(model) == image.patch
    assert reads_regions(model) == (isinstance(image, RegionInput) and not image.patch)
