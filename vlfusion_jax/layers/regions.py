"""From the regions of a detector, each a vector and a box, to tokens."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.layers.embeddings import Table
from vlfusion_jax.layers.norm import LayerNorm
from vlfusion_jax.layers.projection import Projection

BOX = "box_projection"
# What each form reads of a box (x1, y1, x2, y2), all in [0, 1].
BOX_SIZE = {"lxmert": 4, "uniter": 7, "vilbert": 5, "visualbert": 0}


def box_features(boxes_nr4: jax.Array, form: str) -> jax.Array:
    """What `form` reads of boxes (x1, y1, x2, y2) in [0, 1]: [images, regions, BOX_SIZE[form]].

    `uniter` adds width, height and area (Chen et al. 2020, section 3.1), `vilbert` the area (Lu et al. 2019, section
    3.1).
    """
    if form == "lxmert":
        return boxes_nr4
    size = boxes_nr4[..., 2:] - boxes_nr4[..., :2]
    area = size[..., :1] * size[..., 1:]
    return jnp.concatenate([boxes_nr4, size, area] if form == "uniter" else [boxes_nr4, area], axis=-1)


def grid_boxes(rows: int, columns: int) -> jax.Array:
    """Boxes of the cells of a grid, in raster order: [rows * columns, 4], (x1, y1, x2, y2) in [0, 1]."""
    y, x = jnp.divmod(jnp.arange(rows * columns), columns)
    return jnp.stack([x / columns, y / rows, (x + 1) / columns, (y + 1) / rows], axis=-1)


class RegionTokens(nn.Module):
    """Vectors and boxes to tokens, by the `form` of a family (see `models.spec.inputs.RegionInput`)."""

    form: str
    width: int
    epsilon: float
    types: int
    length: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, vectors_nrf: jax.Array, boxes_nr4: jax.Array, of_text: jax.Array | None, place_n: jax.Array | None
    ) -> jax.Array:
        """[images, regions, features], [images, regions, 4] → [images, regions, width].

        `of_text` [images or 1, regions or 1, width]: from the text's tables; None = nothing. `place_n` [images]: which
        of a pair each image is, 1 or 2; None = there are no pairs.
        """
        x = self._projection("projection", vectors_nrf)
        if self.form == "visualbert":
            types = Table(self.types, self.width, names.TYPES, self.dtype, name="types")()
            positions = Table(self.length, self.width, names.POSITIONS, self.dtype, name="positions")()
            of_type = types[1] if place_n is None else jnp.take(types, place_n - 1, axis=0)[:, None]
            x = x + of_type + positions[0]
            return x if of_text is None else x + of_text
        box = self._projection(BOX, box_features(boxes_nr4, self.form))
        if self.form == "vilbert":
            return self._norm("norm", x + box)
        x, box = self._norm("projection_norm", x), self._norm("box_norm", box)
        if self.form == "lxmert":
            return (x + box) / 2
        return self._norm("norm", x + box + of_text)

    def _projection(self, name: str, x: jax.Array) -> jax.Array:
        # In f32: a box has finer places than bfloat16.
        return Projection(
            "nrf,fd->nrd", (x.shape[-1], self.width), (names.PIXELS, names.EMBED),
            (self.width,), (names.EMBED,), dtype=jnp.float32 if name == BOX else self.dtype, name=name,
        )(x).astype(self.dtype)  # fmt: skip

    def _norm(self, name: str, x: jax.Array) -> jax.Array:
        return LayerNorm(self.epsilon, self.dtype, name=name)(x)
