"""Masked region modelling against float64 NumPy."""

import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.models.spec.inputs import ImageInput, RegionInput
from vlfusion_jax.tasks.mrm import HIDDEN, MaskedRegionModelling

IMAGES, ROOM, PATCH, HEIGHT, WIDTH, REGIONS, FEATURES, CLASSES = 4, 3, 4, 8, 12, 7, 5, 6
CELLS = (HEIGHT // PATCH) * (WIDTH // PATCH)
PIXELS = 3 * PATCH**2
MEAN, STD = (0.48, 0.45, 0.4), (0.27, 0.26, 0.28)
PATCHES = ImageInput("patch", (HEIGHT, WIDTH), 8, PATCH, mean=MEAN, std=STD)
REGION_PATCHES = RegionInput("lxmert", PIXELS, 8, CELLS, patch=PATCH, size=(HEIGHT, WIDTH))
GIVEN = RegionInput("uniter", FEATURES, 8, REGIONS)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    hidden = np.array([[0, 2, 5], [1, -1, -1], [-1, -1, -1], [3, 4, -1]], np.int32)
    mask = np.ones((IMAGES, HEIGHT, WIDTH), np.uint8)
    mask[3, :, 6:] = 0
    shares = rng.random((IMAGES, REGIONS, CLASSES)).astype(np.float32)
    shares[..., 0] = 0
    return {
        HIDDEN: hidden,
        names.IMAGE: rng.integers(256, size=(IMAGES, HEIGHT, WIDTH, 3)).astype(np.uint8),
        names.IMAGE_MASK: mask,
        names.REGIONS: rng.normal(size=(IMAGES, REGIONS, FEATURES)).astype(np.float32),
        names.REGION_LABELS: np.where(np.arange(REGIONS) == 2, -1, rng.integers(CLASSES, size=(IMAGES, REGIONS))),
        names.REGION_CLASSES: shares / shares.sum(-1, keepdims=True),
    }


def predicted(size):
    return (2 * np.random.default_rng(1).normal(size=(IMAGES, ROOM, size))).astype(np.float32)


def places(batch):
    """(image, place among the hidden, cell) of every hidden cell."""
    return [(n, p, cell) for (n, p), cell in np.ndenumerate(batch[HIDDEN]) if cell >= 0]


def window(array, n, cell):
    row, column = divmod(cell, WIDTH // PATCH)
    return array[n, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]


def pixels_of(batch, n, cell, mean, std):
    shown = (window(batch[names.IMAGE], n, cell) / 255 - np.array(mean)) / np.array(std)
    return (shown * (window(batch[names.IMAGE_MASK], n, cell)[..., None] > 0)).reshape(-1)


def error_of(x, target, criterion):
    error = np.abs(x.astype(np.float64) - target)
    losses = error**2 if criterion == "mse" else np.where(error < 1, error**2 / 2, error - 0.5)
    return losses.mean()


@pytest.mark.parametrize("criterion", ["mse", "smooth_l1"])
@pytest.mark.parametrize("image", [PATCHES, REGION_PATCHES, GIVEN])
def test_features(batch, output_of, image, criterion):
    task = MaskedRegionModelling(image, "feature", "vector", criterion)
    x = predicted(FEATURES if image is GIVEN else PIXELS)
    scale = (MEAN, STD) if image is PATCHES else ((0.5,) * 3, (0.5,) * 3)
    expected = 0.0
    for n, p, cell in places(batch):
        target = batch[names.REGIONS][n, cell] if image is GIVEN else pixels_of(batch, n, cell, *scale)
        expected += error_of(x[n, p], target, criterion)
    np.testing.assert_allclose(task.loss(output_of(mrm={"vector": x}), batch), expected, rtol=1e-5)
    assert float(task.weight(batch)) == len(places(batch)) == 6
    assert task.metrics(output_of(mrm={"vector": x}), batch) == {}


@pytest.mark.parametrize("image", [PATCHES, REGION_PATCHES])
def test_colours(batch, output_of, log_softmax, image):
    task = MaskedRegionModelling(image, "class", "class")
    x = predicted(3 * 256).reshape(IMAGES, ROOM, 3, 256)
    losses, right = [], []
    for n, p, cell in places(batch):
        kept = window(batch[names.IMAGE], n, cell)[window(batch[names.IMAGE_MASK], n, cell) > 0].astype(int)
        colour = kept.sum(0) // max(len(kept), 1)
        x[n, p, 0, colour[0]] = 20
        losses.append(-log_softmax(x[n, p])[np.arange(3), colour].mean())
        right.append((x[n, p].argmax(-1) == colour).mean())
    output = output_of(mrm={"class": x.reshape(IMAGES, ROOM, -1)})
    np.testing.assert_allclose(task.loss(output, batch), sum(losses), rtol=1e-5)
    total, weight = task.metrics(output, batch)["mrm_accuracy"]
    np.testing.assert_allclose((total, weight), (sum(right), 6), rtol=1e-6)
    assert 0 < sum(right) < 6


def test_labels_of_regions(batch, output_of, log_softmax):
    task = MaskedRegionModelling(GIVEN, "class", "classes", name=names.REGION)
    x, labels = predicted(CLASSES), batch[names.REGION_LABELS]
    counted = [(n, p, cell) for n, p, cell in places(batch) if labels[n, cell] >= 0]
    x[counted[0][0], counted[0][1], labels[counted[0][0], counted[0][2]]] = 9
    output = output_of(region={"classes": x})
    expected = -sum(log_softmax(x[n, p])[labels[n, cell]] for n, p, cell in counted)
    np.testing.assert_allclose(task.loss(output, batch), expected, rtol=1e-5)
    assert float(task.weight(batch)) == len(counted) == 5
    total, weight = task.metrics(output, batch)["region_accuracy"]
    right = sum(x[n, p].argmax() == labels[n, cell] for n, p, cell in counted)
    assert (float(total), float(weight)) == (right, 5)
    assert 0 < right < 5


def test_distributions_of_regions(batch, output_of, log_softmax):
    task = MaskedRegionModelling(GIVEN, "kl", "classes", name=names.REGION)
    x, expected = predicted(CLASSES), 0.0
    for n, p, cell in places(batch):
        share = batch[names.REGION_CLASSES][n, cell].astype(np.float64)
        known = share > 0
        expected += (share * (np.log(np.where(known, share, 1)) - log_softmax(x[n, p])))[known].sum()
    np.testing.assert_allclose(task.loss(output_of(region={"classes": x}), batch), expected, rtol=1e-5)
    assert float(task.weight(batch)) == 6


@pytest.mark.parametrize(
    ("image", "target", "size"),
    [(PATCHES, "feature", PIXELS), (REGION_PATCHES, "class", 768), (GIVEN, "class", CLASSES), (GIVEN, "kl", CLASSES)],
)
def test_nothing_is_hidden(batch, output_of, check_nothing_counts, image, target, size):
    task = MaskedRegionModelling(image, target, "x")
    check_nothing_counts(task, output_of(mrm={"x": predicted(size)}), batch | {HIDDEN: np.full((IMAGES, ROOM), -1)})
