"""What a fusion model returns."""

from dataclasses import dataclass
from typing import Any

import jax
from flax import struct


@dataclass(frozen=True)
class Texts:
    """Some of the texts of every image, where a model runs on all of them at once.

    Attributes:
      first: number of the first one, of an image's.
      count: how many, one after the other.
      of: how many texts an image has.
      rows: of them all.
    """

    first: int
    count: int
    of: int
    rows: int


def of_texts(tree: Any, texts: Texts | None) -> Any:
    """The rows that belong to `texts`, of every array of a tree; what has a row for each image is left as it is.

    Nothing captured may be among the arrays: its first dim counts layers.
    """
    if texts is None or texts.count == texts.of:
        return tree

    def rows_of(x: jax.Array) -> jax.Array:
        if len(x) != texts.rows:
            return x
        by_image = x.reshape(texts.rows // texts.of, texts.of, *x.shape[1:])
        return by_image[:, texts.first : texts.first + texts.count].reshape(-1, *x.shape[1:])

    return jax.tree.map(rows_of, tree)


@struct.dataclass
class FusionOutput:
    """Tokens, masks, predictions, and on request everything in between.

    Attributes:
      text: [rows, text tokens, width], the fused text tokens; None for a model without text input.
      image: [rows, image tokens, width], the image tokens in raster order, behind the class token where there is one;
        [images, …] where no layer mixes text into them.
      text_mask, image_mask: 1 where the token is real.
      pooled: [rows, width], what class heads read; None for a model that pools nothing, a tuple under late fusion.
      logits: predictions of the heads asked for, by name: word logits [rows, positions, vocab], class logits
        [rows, classes] or the numbers of a vector, {name: [images, tokens or hidden cells, size]} of regions; f32.
        Tables are padded; padded classes are masked by a large negative number. A contrastive head gives unit vectors
        {name: [rows, width]}, `logits` [texts, images], and the `scale` [] and `bias` [] of these.
      streams: the other streams as they are in the end, by name; pooled vectors as streams of one token.
      unfused: {stream: (tokens, mask)} of the streams that no step mixes with another, of texts or of images: `given`
        to a call, they save what made them.
      embedded: {stream: [rows, tokens, width]} before the first step; empty unless captured.
      hidden: {stage: {stream: [layers, rows, tokens, width]}}; empty unless captured.
      attention: {stage: {sub-layer: [layers, rows, heads, queries, keys]}} in f32; empty unless captured.
    """

    text: jax.Array | None
    image: jax.Array | None
    text_mask: jax.Array | None
    image_mask: jax.Array | None
    pooled: jax.Array | tuple[jax.Array, ...] | None
    logits: dict
    streams: dict
    unfused: dict
    embedded: dict
    hidden: dict
    attention: dict
