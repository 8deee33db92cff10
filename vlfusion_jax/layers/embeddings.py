"""From ids and pixels to tokens."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.core.partitioned import with_axes
from vlfusion_jax.layers.norm import LayerNorm
from vlfusion_jax.layers.projection import Projection
from vlfusion_jax.ops.masks import pool_mask


class Table(nn.Module):
    """A table of vectors [size, width], looked up by id or used whole.

    Attributes:
      axis: logical axis of the rows.
      init: by default a normal of deviation 0.02 (BERT, Devlin et al. 2019).
    """

    size: int
    width: int
    axis: str
    dtype: Any = jnp.float32
    init: Callable = nn.initializers.truncated_normal(0.02)

    @nn.compact
    def __call__(self) -> jax.Array:
        init = with_axes(self.init, self.axis, names.EMBED)
        return self.param("table", init, (self.size, self.width), jnp.float32).astype(self.dtype)


def sincos_2d(key: jax.Array, shape: tuple[int, int], dtype: Any, *, grid: tuple[int, int]) -> jax.Array:
    """Sines and cosines of row and column (Vaswani et al. 2017, section 3.5, in two dims as in ViT's successors).

    Where the position table starts: products of two positions then fall with their distance from the first step on.
    Half of the width is for rows, half for columns; a width that does not divide by 4 leaves zeros at the end.
    """
    del key
    quarter = shape[1] // 4
    frequency = 1.0 / 10_000 ** (jnp.arange(quarter) / max(1, quarter))
    rows, columns = jnp.divmod(jnp.arange(shape[0]), grid[1])
    parts = [f(place[:, None] * frequency) for place in (rows, columns) for f in (jnp.sin, jnp.cos)]
    return jnp.pad(jnp.concatenate(parts, axis=1), ((0, 0), (0, shape[1] - 4 * quarter))).astype(dtype)


class ImagePositions(nn.Module):
    """A learned vector for each cell of the grid, from `sincos_2d`: [rows * columns, width] in raster order."""

    grid: tuple[int, int]
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self) -> jax.Array:
        size = self.grid[0] * self.grid[1]
        init = partial(sincos_2d, grid=self.grid)
        return Table(size, self.width, names.POSITIONS, self.dtype, init, name="positions")()


class TextEmbedding(nn.Module):
    """Word + learned position, normalised (BERT, Devlin et al. 2019, section 3).

    Attributes:
      length: longest text.
    """

    length: int
    epsilon: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, ids_bt: jax.Array, words_vd: jax.Array) -> jax.Array:
        """Ids [rows, tokens] and the word table [vocab, width] → [rows, tokens, width]."""
        positions = Table(self.length, words_vd.shape[1], names.POSITIONS, self.dtype, name="positions")()
        x = jnp.take(words_vd, ids_bt, axis=0) + positions[: ids_bt.shape[1]]
        return LayerNorm(self.epsilon, self.dtype, name="norm")(x)


class PatchTokens(nn.Module):
    """Non-overlapping square patches, each mapped linearly (Dosovitskiy et al. 2021, eq. 1), in raster order.

    A reshape and one product: the same numbers as a convolution of that stride, and faster on a CPU.
    """

    patch: int
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pixels_nhwc: jax.Array, mask_nhw: jax.Array) -> tuple[jax.Array, jax.Array]:
        n, height, width, channels = pixels_nhwc.shape
        p = self.patch
        grid = pixels_nhwc.reshape(n, height // p, p, width // p, p, channels).swapaxes(2, 3)
        patches = grid.reshape(n, (height // p) * (width // p), p * p * channels)
        tokens = Projection(
            "ntp,pd->ntd", (p * p * channels, self.width), (names.PIXELS, names.EMBED),
            (self.width,), (names.EMBED,), dtype=self.dtype, name="projection",
        )(patches)  # fmt: skip
        return tokens, pool_mask(mask_nhw, p).reshape(n, -1)


class ConvTokens(nn.Module):
    """A stack of 3x3 convolutions of stride 2 with ReLU; every cell of the last map is a token, in raster order.

    Kernels are standardised (Qiao et al. 2019, "Weight Standardization"): each output channel's kernel has mean zero
    and the variance of He's initialisation, and a gain and a bias are learned. An even background then gives no
    response, which trains about as fast as batch normalisation, without reading other images.

    After each convolution padded cells are set to zero, so that a valid cell sees the same numbers whatever surrounds
    the image.

    Attributes:
      channels: features of each convolution.
      width: of the tokens.
    """

    channels: tuple[int, ...]
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pixels_nhwc: jax.Array, mask_nhw: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Pixels [images, height, width, 3] and mask → tokens [images, cells, width], their mask [images, cells]."""
        x = pixels_nhwc
        for i, features in enumerate(self.channels):
            mask_nhw = pool_mask(mask_nhw, 2)
            kernel, bias = self._standardised(i, x.shape[-1], features)
            x = jax.lax.conv_general_dilated(
                x, kernel.astype(self.dtype), (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jax.nn.relu(x + bias.astype(self.dtype)) * mask_nhw[..., None].astype(self.dtype)
        n, rows, columns, features = x.shape
        tokens = Projection(
            "ntc,cd->ntd", (features, self.width), (names.PIXELS, names.EMBED),
            (self.width,), (names.EMBED,), dtype=self.dtype, name="projection",
        )(x.reshape(n, rows * columns, features))  # fmt: skip
        return tokens, mask_nhw.reshape(n, -1)

    def _standardised(self, i: int, inputs: int, features: int) -> tuple[jax.Array, jax.Array]:
        """Kernel [3, 3, inputs, features] and bias [features] of convolution `i`."""
        axes = (names.WINDOW, names.WINDOW, names.PIXELS, names.EMBED)
        raw_init, ones, zeros = nn.initializers.he_normal(), nn.initializers.ones_init(), nn.initializers.zeros_init()
        raw = self.param(f"kernel_{i}", with_axes(raw_init, *axes), (3, 3, inputs, features), jnp.float32)
        gain = self.param(f"gain_{i}", with_axes(ones, names.EMBED), (features,), jnp.float32)
        bias = self.param(f"bias_{i}", with_axes(zeros, names.EMBED), (features,), jnp.float32)
        centred = raw - raw.mean((0, 1, 2))
        deviation = jnp.sqrt(jnp.square(centred).mean((0, 1, 2)) + 1e-8)
        return centred / deviation * (gain * (2 / (9 * inputs)) ** 0.5), bias
