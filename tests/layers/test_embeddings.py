"""Text and image tokens against PyTorch's embeddings and convolutions."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from vlfusion_jax.layers.embeddings import ConvTokens, PatchTokens, TextEmbedding


def nchw(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.asarray(x)).permute(0, 3, 1, 2)


def raster(x: torch.Tensor) -> np.ndarray:
    """[n, channels, rows, columns] -> [n, rows * columns, channels]."""
    return x.flatten(2).transpose(1, 2).detach().numpy()


def padded_pixels(rng: np.random.Generator, n: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images, the second of which ends early, and their masks."""
    mask = np.ones((n, height, width), np.uint8)
    mask[1, height // 2 :] = 0
    mask[1, :, width - 3 :] = 0
    return rng.normal(size=(n, height, width, 3)).astype(np.float32) * mask[..., None], mask


@pytest.mark.parametrize(("types", "offset", "epsilon"), [(0, 0, 1e-6), (2, 0, 1e-12), (1, 2, None)])
def test_text_is_word_position_and_type_normalised(random_params, to_norm, types, offset, epsilon):
    rng = np.random.default_rng(0)
    ids, type_ids = rng.integers(13, size=(3, 5)), rng.integers(max(types, 1), size=(3, 5))
    module = TextEmbedding(13, 8, 9, types, offset, epsilon)
    params = random_params(module, ids)
    tables = {name: torch.tensor(params[name]["table"]) for name in params if name != "norm"}
    expected = torch.nn.functional.embedding(torch.tensor(ids), tables["words"]) + tables["positions"][offset:][:5]
    if types:
        expected = expected + tables["token_types"][torch.tensor(type_ids)]
    if epsilon is not None:
        expected = to_norm(params["norm"], epsilon)(expected).detach()
    np.testing.assert_allclose(module.apply({"params": params}, ids, type_ids), expected, atol=2e-6)


@pytest.mark.parametrize(("height", "width", "patch"), [(12, 20, 4), (9, 6, 3)])
def test_patches_are_a_convolution_of_their_stride(random_params, height, width, patch):
    pixels, mask = padded_pixels(np.random.default_rng(height), 2, height, width)
    module = PatchTokens(patch, 10)
    params = random_params(module, pixels, mask)
    tokens, token_mask = module.apply({"params": params}, pixels, mask)
    projection = params["projection"]
    kernel = torch.tensor(projection["kernel"]).reshape(patch, patch, 3, 10).permute(3, 2, 0, 1)
    expected = torch.nn.functional.conv2d(nchw(pixels), kernel, torch.tensor(projection["bias"]), stride=patch)
    np.testing.assert_allclose(tokens, raster(expected), atol=1e-5)
    kept = torch.nn.functional.max_pool2d(torch.tensor(mask, dtype=torch.float32), patch)
    np.testing.assert_array_equal(token_mask, kept.flatten(1))


@pytest.mark.parametrize(("height", "width"), [(16, 24), (13, 19)])
def test_conv_tokens_are_a_stack_of_convolutions(random_params, to_linear, height, width):
    channels = (4, 6, 5)
    pixels, mask = padded_pixels(np.random.default_rng(width), 2, height, width)
    module = ConvTokens(channels, 10)
    params = random_params(module, pixels, mask)
    tokens, token_mask = module.apply({"params": params}, pixels, mask)
    x, keep = nchw(pixels), torch.tensor(mask, dtype=torch.float32)[:, None]
    for i in range(len(channels)):
        kernel = torch.tensor(params[f"kernel_{i}"]).permute(3, 2, 0, 1)
        raw = kernel.flatten(1)
        deviation = raw.var(dim=1, unbiased=False).sqrt()[:, None]
        scale = torch.tensor(params[f"gain_{i}"])[:, None] * (2 / raw.shape[1]) ** 0.5
        kernel = ((raw - raw.mean(1, keepdim=True)) / deviation * scale).reshape(kernel.shape)
        x = torch.nn.functional.conv2d(x, kernel, torch.tensor(params[f"bias_{i}"]), stride=2, padding=1)
        keep = torch.nn.functional.max_pool2d(keep, 2, ceil_mode=True)
        x = torch.relu(x) * keep
    expected = to_linear(params["projection"])(torch.tensor(raster(x)))
    np.testing.assert_allclose(tokens, expected.detach(), atol=1e-5)
    np.testing.assert_array_equal(token_mask, keep.flatten(1))


@pytest.mark.parametrize("module", [PatchTokens(4, 6, dtype=jnp.bfloat16), ConvTokens((4, 4), 6, jnp.bfloat16)])
def test_tokens_come_in_the_compute_dtype(random_params, module):
    pixels, mask = padded_pixels(np.random.default_rng(3), 2, 8, 12)
    pixels = pixels.astype(jnp.bfloat16)
    assert module.apply({"params": random_params(module, pixels, mask)}, pixels, mask)[0].dtype == jnp.bfloat16
