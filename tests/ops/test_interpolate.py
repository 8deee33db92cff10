"""Grids at another resolution, held to PyTorch's corners-aligned bilinear interpolation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from vlfusion_jax.ops.interpolate import stretch_grid

CELLS = (7, 9)
SIZES = np.array([[7, 9], [5, 3], [1, 9], [7, 1], [1, 1], [4, 6]], np.int32)  # of six images


def their_stretch(grid: torch.Tensor) -> torch.Tensor:
    """[images, *CELLS, width], zero where an image has no cell."""
    found = []
    for size in SIZES.tolist():
        up = torch.nn.functional.interpolate(
            grid.permute(2, 0, 1)[None], size=size, mode="bilinear", align_corners=True
        )
        found.append(torch.nn.functional.pad(up[0], (0, CELLS[1] - size[1], 0, CELLS[0] - size[0])))
    return torch.stack(found).permute(0, 2, 3, 1)


@pytest.mark.parametrize("shape", [(4, 6), (5, 5), (3, 2), (1, 4), (12, 12)])
def test_a_grid_over_images_of_any_size(shape):
    grid = np.random.default_rng(0).normal(size=(*shape, 8)).astype(np.float32)
    ours = jax.jit(stretch_grid, static_argnums=3)(grid, SIZES[:, 0], SIZES[:, 1], CELLS)
    np.testing.assert_allclose(ours, their_stretch(torch.tensor(grid)), atol=1e-5)


def test_an_image_of_the_grids_own_size_has_the_grid_itself():
    grid = np.random.default_rng(1).normal(size=(*CELLS, 4)).astype(np.float32)
    ours = stretch_grid(jnp.asarray(grid), SIZES[:1, 0], SIZES[:1, 1], CELLS)
    np.testing.assert_allclose(ours[0], grid, atol=1e-5)


def test_gradient_of_the_grid():
    rng = np.random.default_rng(2)
    grid = rng.normal(size=(4, 6, 3)).astype(np.float32)
    weights = rng.normal(size=(len(SIZES), *CELLS, 3)).astype(np.float32)
    ours = jax.grad(lambda grid: (stretch_grid(grid, SIZES[:, 0], SIZES[:, 1], CELLS) * weights).sum())(grid)
    theirs = torch.tensor(grid, requires_grad=True)
    (their_stretch(theirs) * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(ours, theirs.grad, atol=1e-5)


def test_the_canvas_does_not_matter():
    grid = np.random.default_rng(3).normal(size=(4, 6, 3)).astype(np.float32)
    small = stretch_grid(jnp.asarray(grid), SIZES[:, 0], SIZES[:, 1], CELLS)
    large = stretch_grid(jnp.asarray(grid), SIZES[:, 0], SIZES[:, 1], (11, 10))
    np.testing.assert_array_equal(large[:, : CELLS[0], : CELLS[1]], small)
    assert not np.asarray(large)[:, CELLS[0] :].any()
    assert not np.asarray(large)[:, :, CELLS[1] :].any()
