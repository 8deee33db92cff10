"""From ids and pixels to tokens."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.core.partitioned import with_axes
from vlfusion_jax.layers.norm import LayerNorm
from vlfusion_jax.layers.projection import Projection
from vlfusion_jax.ops.cells import replace_cells
from vlfusion_jax.ops.masks import patch_mask, pool_mask, split_patches
from vlfusion_jax.parallel.rows import own_copies, with_own_copy


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


class TextEmbedding(nn.Module):
    """Word + learned position (+ type), normalised (BERT, Devlin et al. 2019, section 3).

    `word_copies` [copies, vocab, width] is for heads that predict words, see `parallel.rows.own_copies`.

    Attributes:
      length: rows of the position table.
      types: rows of the type table; 0 = none.
      offset: position of the first token.
      epsilon: of the norm; None = no norm.
      fixed_row: row of the tables that look-ups do not train; None = none.
    """

    vocab: int
    width: int
    length: int
    types: int = 0
    offset: int = 0
    epsilon: float | None = 1e-12
    fixed_row: int | None = None
    dtype: Any = jnp.float32

    def setup(self) -> None:
        self.words = Table(self.vocab, self.width, names.VOCAB, self.dtype)
        self.word_copies = own_copies(self.words(), names.VOCAB, names.EMBED)
        self.positions = Table(self.length, self.width, names.POSITIONS, self.dtype)
        self.token_types = Table(self.types, self.width, names.TYPES, self.dtype) if self.types else None
        self.norm = LayerNorm(self.epsilon, self.dtype) if self.epsilon is not None else None

    def __call__(
        self, ids_bt: jax.Array, types_bt: jax.Array | None = None, places_bt: jax.Array | None = None
    ) -> jax.Array:
        """Ids [rows, tokens], their types, by default 0, and places, by default one after the other.

        Returns:
          [rows, tokens, width].
        """
        length = ids_bt.shape[1]
        if length + self.offset > self.length:
            raise ValueError(f"text of {length} tokens, room for {self.length - self.offset}")
        x = self._held(with_own_copy(_rows)(self.word_copies, ids_bt), ids_bt)
        if places_bt is None:
            places = jnp.arange(self.offset, self.offset + length)
            x = x + self._held(self.positions()[self.offset : self.offset + length], places)
        else:
            places = places_bt + self.offset
            x = x + self._held(jnp.take(self.positions(), places, axis=0), places)
        if self.types:
            types_bt = jnp.zeros((1, 1), jnp.int32) if types_bt is None else types_bt
            x = x + self._held(jnp.take(self.token_types(), types_bt, axis=0), types_bt)
        return x if self.norm is None else self.norm(x)

    def _held(self, rows: jax.Array, ids: jax.Array) -> jax.Array:
        """Rows `ids` of a table, without a gradient where that is the fixed row."""
        if self.fixed_row is None:
            return rows
        return jnp.where((ids == self.fixed_row)[..., None], jax.lax.stop_gradient(rows), rows)

    def type_rows(self, rows: jax.Array) -> jax.Array:
        """[n] → [n, width], rows of the type table."""
        return jnp.take(self.token_types(), rows, axis=0)

    def mean_position(self, places_nra: jax.Array) -> jax.Array:
        """Places in the text [images, regions, n], -1 = none → means of their vectors [images, regions, width]."""
        listed = (places_nra >= 0).astype(self.dtype)[..., None]
        vectors = jnp.take(self.positions(), jnp.maximum(places_nra, 0) + self.offset, axis=0)
        return (vectors * listed).sum(2) / jnp.maximum(listed.sum(2), 1)


def _rows(table: jax.Array, ids: jax.Array) -> jax.Array:
    return jnp.take(table, ids, axis=0)


class PatchTokens(nn.Module):
    """Non-overlapping square patches, each mapped linearly (Dosovitskiy et al. 2021, eq. 1), in raster order.

    A reshape and one product: the same numbers as a convolution of that stride, and faster on a CPU.
    """

    patch: int
    width: int
    bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, pixels_nhwc: jax.Array, mask_nhw: jax.Array, hidden_np: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Pixels [images, height, width, 3] and mask → tokens [images, patches, width], their mask [images, patches].

        A rest of height or width that no patch fits into is not seen, as by a convolution without padding. Patches that
        `hidden_np` [images, p] numbers are zero; -1 = none.
        """
        patches = split_patches(pixels_nhwc, self.patch)
        if hidden_np is not None:
            patches = replace_cells(patches, hidden_np)
        bias = ((self.width,), (names.EMBED,)) if self.bias else ()
        tokens = Projection(
            "ntp,pd->ntd", (patches.shape[-1], self.width), (names.PIXELS, names.EMBED), *bias,
            dtype=self.dtype, name="projection",
        )(patches)  # fmt: skip
        return tokens, patch_mask(mask_nhw, self.patch)


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
