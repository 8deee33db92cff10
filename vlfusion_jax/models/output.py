"""What a fusion model returns."""

import jax
from flax import struct


@struct.dataclass
class FusionOutput:
    """Tokens, masks, predictions, and on request everything in between.

    Attributes:
      text: [rows, text tokens, width], the fused text tokens.
      image: [rows, image tokens, width], the image tokens in raster order; [images, …] where no layer mixes text into
        them.
      text_mask, image_mask: 1 where the token is real.
      pooled: [rows, width], tanh of a projection of the first text token.
      logits: predictions of the heads asked for, by name: `mlm` [rows, positions, vocab], `itm` [rows, 2] (1 = match),
        `vqa` [rows, answers]; f32. Tables are padded; padded classes are masked by a large negative number.
      hidden: per stage {stream: [layers, rows, tokens, width]}; empty unless captured.
      attention: per stage {sub-layer: [layers, rows, heads, queries, keys]} in f32; empty unless captured.
    """

    text: jax.Array
    image: jax.Array
    text_mask: jax.Array
    image_mask: jax.Array
    pooled: jax.Array
    logits: dict[str, jax.Array]
    hidden: tuple = ()
    attention: tuple = ()
