"""VGG against a PyTorch model of table 1 of its paper; towers on images that do not fill their canvas."""

import jax
import numpy as np
import pytest
import torch

from vlfusion_jax.core.partitioned import unbox
from vlfusion_jax.layers.convnet import TOWERS, GridTokens, ResNet, Vgg

DEPTHS, CHANNELS = (2, 1, 3), (4, 6, 8)
RESNET = ResNet((2, 1, 2), (4, 8, 12, 16))


def random_tower(module, pixels: np.ndarray, mask: np.ndarray) -> dict:
    """Parameters that keep the scale of what passes, statistics of batch normalisation too."""
    shapes = jax.eval_shape(lambda: unbox(module.init(jax.random.key(0), pixels, mask)["params"]))
    rng = np.random.default_rng(3)

    def fill(path, leaf) -> np.ndarray:
        around = 1.0 if path[-1].key in ("scale", "variance") else 0.0
        scale = (2 / np.prod(leaf.shape[:-1])) ** 0.5 if leaf.ndim == 4 else 0.1
        return (around + scale * rng.normal(size=leaf.shape)).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(fill, shapes)


def images(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.random.default_rng(height).normal(size=(2, height, width, 3)).astype(np.float32)
    return pixels, np.ones(pixels.shape[:3], np.uint8)


@pytest.mark.parametrize("size", [(32, 40), (29, 19)])
def test_vgg_equals_torch(size):
    pixels, mask = images(*size)
    module = Vgg(DEPTHS, CHANNELS)
    params = random_tower(module, pixels, mask)
    maps = jax.jit(module.apply)({"params": params}, pixels, mask)
    x = torch.tensor(pixels).permute(0, 3, 1, 2)
    for stage, depth in enumerate(DEPTHS):
        for i in range(depth):
            conv = params[f"stage_{stage}_conv_{i}"]
            kernel = torch.tensor(conv["kernel"]).permute(3, 2, 0, 1)
            x = torch.nn.functional.conv2d(x, kernel, torch.tensor(conv["bias"]), padding=1).relu()
        x = torch.nn.functional.max_pool2d(x, 2)
        np.testing.assert_allclose(maps[stage][0], x.permute(0, 2, 3, 1), atol=1e-5)
        assert maps[stage][1].all()


def test_an_image_on_a_larger_canvas_gives_resnet_the_numbers_it_has_alone():
    pixels, mask = images(37, 21)
    params = random_tower(RESNET, pixels, mask)
    alone = jax.jit(RESNET.apply)({"params": params}, pixels, mask)
    canvas = np.zeros((2, 64, 48, 3), np.float32)
    shown = np.zeros((2, 64, 48), np.uint8)
    canvas[:, :37, :21], shown[:, :37, :21] = pixels, 1
    padded = jax.jit(RESNET.apply)({"params": params}, canvas, shown)
    for (x, _), (y, inside) in zip(alone, padded, strict=True):
        assert inside.sum() == np.prod(x.shape[:3])
        np.testing.assert_allclose(y[:, : x.shape[1], : x.shape[2]], x, atol=1e-5)
        assert not np.asarray(y)[np.asarray(inside) == 0].any()


@pytest.mark.parametrize("name", TOWERS)
def test_convolutions_of_the_published_towers(name):
    """As many as the name says, fully connected layers counted."""
    pixels, mask = images(64, 64)
    tower = GridTokens(TOWERS[name]["tokens"], TOWERS[name]["depths"], TOWERS[name]["channels"], 0)
    shapes = jax.eval_shape(lambda: unbox(tower.init(jax.random.key(0), pixels, mask)["params"]))
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(shapes) if path[-1].key == "kernel"]
    convolutions = [path for path in paths if path[-2].key != "shortcut"]
    connected = {"resnet": 1, "vgg": 3}[TOWERS[name]["tokens"]]
    assert len(convolutions) + connected == int(name.removeprefix("resnet").removeprefix("vgg"))


def test_stored_statistics_have_no_gradient():
    pixels, mask = images(32, 32)
    params = random_tower(RESNET, pixels, mask)
    grads = jax.jit(jax.grad(lambda params: RESNET.apply({"params": params}, pixels, mask)[-1][0].sum()))(params)
    stored = {path[-1].key: np.abs(np.asarray(leaf)).max() > 0 for path, leaf in jax.tree.leaves_with_path(grads)}
    assert stored == {"kernel": True, "scale": True, "bias": True, "mean": False, "variance": False}


def test_the_canvas_does_not_change_what_vgg_sees():
    small, large = Vgg(DEPTHS, CHANNELS), np.zeros((2, 48, 40, 3), np.float32)
    pixels, _ = images(21, 19)
    large[:, :21, :19] = pixels
    params = random_tower(small, large, np.ones(large.shape[:3], np.uint8))
    found = []
    for rows, columns in ((48, 40), (24, 24)):
        canvas = large[:, :rows, :columns]
        shown = np.zeros(canvas.shape[:3], np.uint8)
        shown[:, :21, :19] = 1
        x, mask = jax.jit(small.apply)({"params": params}, canvas, shown)[-1]
        found.append(np.asarray(x)[np.asarray(mask) > 0])
    np.testing.assert_allclose(*found, atol=1e-6)
