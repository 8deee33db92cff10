"""The inputs of a model as modules: from a batch's entries to streams of tokens and their masks."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.partitioned import with_axes
from vlfusion_jax.layers.convnet import GridTokens
from vlfusion_jax.layers.dropout import Dropout
from vlfusion_jax.layers.embeddings import ConvTokens, PatchTokens, Table, TextEmbedding
from vlfusion_jax.layers.norm import LayerNorm
from vlfusion_jax.layers.positions import GridPositions, StretchedPositions
from vlfusion_jax.layers.regions import RegionTokens, grid_boxes
from vlfusion_jax.models.spec.inputs import ImageInput, Input, LearnedInput, RegionInput, TextInput
from vlfusion_jax.models.spec.streams import TARGET
from vlfusion_jax.ops.cells import pick_cells, replace_cells
from vlfusion_jax.ops.masks import keep_tokens, normalise_pixels, patch_mask, split_patches

Tokens = tuple[jax.Array, jax.Array]  # [rows, tokens, width], [rows, tokens] int32


class TextTokens(nn.Module):
    """A `TextInput`; its word table is there for heads that predict words."""

    spec: TextInput
    train: bool
    dtype: Any = jnp.float32

    def setup(self) -> None:
        spec = self.spec
        self.embedding = TextEmbedding(
            spec.padded_vocab, spec.width, spec.length, spec.types, spec.position_offset, spec.epsilon, spec.fixed_row,
            self.dtype,
        )  # fmt: skip
        self.dropout = Dropout(spec.dropout, self.train)

    def __call__(self, inputs: Mapping[str, jax.Array], modality: jax.Array | None) -> Tokens:
        """Reads `text`, `text_mask` and, where given, `text_types`, or the same of `target`, and `target_places`."""
        stream = self.spec.stream
        places = inputs.get(names.TARGET_PLACES) if stream == TARGET else None
        x = self.embedding(inputs[stream], inputs.get(names.types_of(stream)), places)
        x = self.dropout(x)
        return with_modality(x, modality, self.spec.modality), inputs[names.mask_of(stream)].astype(jnp.int32)

    def word_copies(self) -> jax.Array:
        """[copies, padded vocab, width], see `parallel.rows.own_copies`."""
        return self.embedding.word_copies

    def for_regions(self, form: str, inputs: Mapping[str, jax.Array]) -> jax.Array | None:
        """What regions of a `form` take from the text's tables: [images or 1, regions or 1, width]; None = nothing.

        Reads `image_modality` [images] (`uniter`: types) and `alignment` [images, regions, n] (`visualbert`: places of
        the words that belong to a region, -1 = none), where they are given.
        """
        if form == "uniter":
            return self.embedding.type_rows(inputs.get(names.IMAGE_MODALITY, jnp.ones(1, jnp.int32)))[:, None]
        if form == "visualbert" and names.ALIGNMENT in inputs:
            return self.embedding.mean_position(inputs[names.ALIGNMENT])
        return None


class ImageTokens(nn.Module):
    """An `ImageInput`."""

    spec: ImageInput
    train: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Mapping[str, jax.Array], modality: jax.Array | None) -> Tokens:
        """Reads `image` and `image_mask`, and where given `image_modality` [images], rows of the modality table.

        And `hidden` [images, p], numbers of the patches that are hidden.
        """
        spec, pixel_mask = self.spec, inputs[names.IMAGE_MASK]
        pixels = normalise_pixels(inputs[names.IMAGE], pixel_mask, self.dtype, spec.mean, spec.std)
        if spec.tokens == "patch":
            tower = PatchTokens(spec.patch, spec.width, spec.patch_bias, self.dtype, name="patches")
            x, mask = tower(pixels, pixel_mask, inputs.get(names.HIDDEN))
        elif spec.tokens == "conv":
            x, mask = ConvTokens(spec.channels, spec.width, self.dtype, name="conv")(pixels, pixel_mask)
        else:
            width = spec.width if spec.projected else 0
            tower = GridTokens(spec.tokens, spec.depths, spec.channels, width, self.dtype, name="grid_tokens")
            x, mask = tower(pixels, pixel_mask)
        mask = mask.astype(jnp.int32)
        if spec.positions == "interpolated":
            cells = (pixel_mask.shape[1] // spec.patch, pixel_mask.shape[2] // spec.patch)
            x = x + StretchedPositions(spec.grid, cells, spec.width, self.dtype, name="grid")(mask)
            x, mask = self._keep(x, mask)
        elif spec.positions != "none":
            x = x + GridPositions(spec.cells, spec.width, spec.positions == "sincos", self.dtype, name="grid")()
        if spec.cls:
            x, mask = self._behind_class_token(x, mask)
        if spec.epsilon is not None:
            x = LayerNorm(spec.epsilon, self.dtype, name="norm")(x)
        x = Dropout(spec.dropout, self.train)(x)
        return with_modality(x, modality, spec.modality, inputs.get(names.IMAGE_MODALITY)), mask

    def _keep(self, x: jax.Array, mask: jax.Array) -> Tokens:
        """Valid tokens first, as many as there is room for."""
        room = min(x.shape[1], self.spec.max_tokens or x.shape[1])
        key = self.make_rng(names.DROPOUT) if self.train and room < x.shape[1] else None
        kept = keep_tokens(mask, room, key)
        return jnp.take_along_axis(x, kept[..., None], axis=1), jnp.take_along_axis(mask, kept, axis=1)

    def _behind_class_token(self, x: jax.Array, mask: jax.Array) -> Tokens:
        """The class token holds its own position: a sum of two learned vectors is one."""
        init = with_axes(nn.initializers.truncated_normal(0.02), names.EMBED)
        token = self.param("cls", init, (self.spec.width,), jnp.float32)
        if self.spec.positions != "none":
            token = token + self.param("cls_position", init, (self.spec.width,), jnp.float32)
        n = x.shape[0]
        first = jnp.broadcast_to(token.astype(x.dtype), (n, 1, self.spec.width))
        return jnp.concatenate([first, x], axis=1), jnp.concatenate([jnp.ones((n, 1), mask.dtype), mask], axis=1)


class Regions(nn.Module):
    """A `RegionInput`."""

    spec: RegionInput
    train: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, inputs: Mapping[str, jax.Array], of_text: jax.Array | None) -> Tokens:
        """Reads `regions` [images, count, features], `boxes` [images, count, 4] and `region_mask`, or the image.

        And where given `hidden` [images, p], numbers of the regions that are hidden; their boxes are not.
        """
        spec = self.spec
        vectors, boxes, mask = self._patches(inputs) if spec.patch else _given(inputs)
        stand_in = self._mask_vector() if spec.mask_vector else 0.0
        if names.HIDDEN in inputs:
            vectors = replace_cells(vectors, inputs[names.HIDDEN], stand_in)
        if spec.whole:
            vectors, boxes, mask = _with_whole(vectors, boxes, mask)
        tokens = RegionTokens(spec.form, spec.width, spec.epsilon, spec.types, spec.length, self.dtype, name="regions")
        x = tokens(vectors.astype(self.dtype), boxes, of_text, inputs.get(names.IMAGE_MODALITY))
        return Dropout(spec.dropout, self.train)(x), mask.astype(jnp.int32)

    def _mask_vector(self) -> jax.Array:
        init = with_axes(nn.initializers.truncated_normal(0.02), names.PIXELS)
        return self.param(names.MASK_VECTOR, init, (self.spec.features,), jnp.float32)

    def _patches(self, inputs: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        spec = self.spec
        pixels = normalise_pixels(inputs[names.IMAGE], inputs[names.IMAGE_MASK], self.dtype)
        vectors = split_patches(pixels, spec.patch)
        boxes = grid_boxes(spec.size[0] // spec.patch, spec.size[1] // spec.patch)
        mask = patch_mask(inputs[names.IMAGE_MASK], spec.patch)
        return vectors, jnp.broadcast_to(boxes, (len(vectors), *boxes.shape)), mask


def _given(inputs: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
    if names.REGIONS not in inputs:
        raise UserError(
            "the model reads regions of a detector, but the batch has images alone: set model.region_patch, in pixels, "
            "and the image's patches are its regions."
        )
    return inputs[names.REGIONS], inputs[names.BOXES], inputs[names.REGION_MASK]


def _with_whole(vectors: jax.Array, boxes: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The same behind a region that is the whole image (Lu et al. 2019, section 3.1)."""
    keep = mask[..., None] > 0
    mean = jnp.where(keep, vectors, 0).sum(1, keepdims=True) / jnp.maximum(keep.sum(1, keepdims=True), 1)
    box = jnp.broadcast_to(jnp.asarray([0, 0, 1, 1], boxes.dtype), (len(boxes), 1, 4))
    one = jnp.ones((len(mask), 1), mask.dtype)
    return tuple(jnp.concatenate(pair, axis=1) for pair in ((mean, vectors), (box, boxes), (one, mask)))


class LearnedTokens(nn.Module):
    """A `LearnedInput`: one row, which every row of the batch repeats."""

    spec: LearnedInput
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self) -> Tokens:
        table = Table(self.spec.count, self.spec.width, names.POSITIONS, self.dtype, name="tokens")()
        return table[None], jnp.ones((1, self.spec.count), jnp.int32)


def is_there(spec: Input, inputs: Mapping[str, jax.Array]) -> bool:
    """Whether a batch has what `spec` reads."""
    if isinstance(spec, TextInput):
        return spec.stream in inputs
    return isinstance(spec, LearnedInput) or any(name in inputs for name in names.SHOWN)


def with_modality(
    x: jax.Array, modality: jax.Array | None, row: int | None, chosen: jax.Array | None = None
) -> jax.Array:
    """Tokens plus `row` of the modality table, or of `chosen` [images] each image's own; as they are without a row."""
    if row is None or modality is None:
        return x
    return x + (modality[row] if chosen is None else jnp.take(modality, chosen, axis=0)[:, None])


def hidden_tokens(spec: ImageInput | RegionInput, inputs: Mapping[str, jax.Array]) -> jax.Array:
    """Numbers of the tokens that the `hidden` cells became, [images, p]; any where nothing is hidden.

    Of patches that come valid ones first, all must be kept.
    """
    if isinstance(spec, RegionInput):
        return jnp.maximum(inputs[names.HIDDEN], 0) + spec.whole
    places = jnp.maximum(inputs[names.HIDDEN], 0)
    if spec.positions == "interpolated":
        mask = patch_mask(inputs[names.IMAGE_MASK], spec.patch)
        places = pick_cells(jnp.argsort(keep_tokens(mask, mask.shape[1], None), axis=1), places)
    return places + spec.cls


def input_shapes(inputs: Sequence[Input], rows: int = 1, tokens: int = 2) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of what the inputs of a model read, each text with an image of its own.

    Args:
      inputs: `ModelSpec.inputs`.
      rows: texts.
      tokens: of each text.
    """
    shapes: dict[str, jax.ShapeDtypeStruct] = {}
    for spec in inputs:
        if isinstance(spec, TextInput):
            ids = jax.ShapeDtypeStruct((rows, tokens), jnp.int32)
            shapes |= {spec.stream: ids, names.mask_of(spec.stream): ids}
        elif isinstance(spec, ImageInput) or (isinstance(spec, RegionInput) and spec.patch):
            shapes[names.IMAGE] = jax.ShapeDtypeStruct((rows, *spec.size, 3), jnp.uint8)
            shapes[names.IMAGE_MASK] = jax.ShapeDtypeStruct((rows, *spec.size), jnp.uint8)
        elif isinstance(spec, RegionInput):
            shapes[names.REGIONS] = jax.ShapeDtypeStruct((rows, spec.count, spec.features), jnp.float32)
            shapes[names.BOXES] = jax.ShapeDtypeStruct((rows, spec.count, 4), jnp.float32)
            shapes[names.REGION_MASK] = jax.ShapeDtypeStruct((rows, spec.count), jnp.int32)
    shapes[names.MLM_POSITIONS] = jax.ShapeDtypeStruct((rows, 1), jnp.int32)
    return shapes
