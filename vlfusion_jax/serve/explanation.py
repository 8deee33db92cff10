"""Which cells of a picture belong to which word of a text, by a model: as arrays, and as a picture to look at."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.files import written_whole
from vlfusion_jax.serve.cells import Cells
from vlfusion_jax.train.report import FAINT, INK, save

_HEAT = to_rgb("#e8590c")
_FADED = 0.45  # how far a picture under a map goes from grey towards white
_LUMA = np.array([0.299, 0.587, 0.114])  # brightness of red, green and blue (ITU-R BT.601)
_FROM, _TO = 1.0, 3.0  # deviations above the mean from which a cell is lit, and where it is lit most (ViLT's demo)
_COLUMNS, _SIDE = (6, 5, 4), 2.1  # panels beside each other, whatever leaves the fewest places empty; inches of one


@dataclass(frozen=True)
class Explanation:
    """Maps of words over a picture; every map sums to 1 over the cells of the picture.

    Attributes:
      picture: [height, width, 3] uint8, as given.
      text: as given.
      words: its words as they are written; special tokens and signs are left out.
      verdict: what the model says to picture and text, with its probability; '' = it has no head that says anything.
      method: what made the maps.
      labels: a name of each row of maps, such as a layer.
      maps: [labels, words, rows, columns] float64; the rows of the grid go down the picture.
      attention: {sub-layer: [layers, heads, words, rows, columns]}, all that text and image attend to each other by.
      cells: of the picture.
    """

    picture: np.ndarray
    text: str
    words: tuple[str, ...]
    verdict: str
    method: str
    labels: tuple[str, ...]
    maps: np.ndarray
    attention: Mapping[str, np.ndarray]
    cells: Cells

    def heads(self, sublayer: str, layer: int) -> "Explanation":
        """The same with a row of maps for each head of a layer.

        Args:
          sublayer: a key of `attention`.
          layer: number of the layer there, from 0.

        Raises:
          UserError: there is no such sub-layer or layer.
        """
        if sublayer not in self.attention:
            raise UserError(f"no sub-layer {sublayer!r}; there are {', '.join(self.attention)}.")
        layers = self.attention[sublayer]
        if not 0 <= layer < len(layers):
            raise UserError(f"{sublayer} has layers 0 to {len(layers) - 1}, no {layer}.")
        labels = tuple(f"head {i + 1}" for i in range(layers.shape[1]))
        return replace(self, method=f"attention of {sublayer}, layer {layer + 1}", labels=labels, maps=layers[layer])

    def draw(self) -> Figure:
        """The picture with a map for each word over it: cells are lit by how far they stand out of their map."""
        several = len(self.labels) > 1
        panels = len(self.words) + (not several)
        columns = len(self.words) if several else min(panels, min(_COLUMNS, key=lambda n: -panels % n))
        rows = len(self.labels) if several else -(-panels // columns)
        height, width = self.picture.shape[:2]
        tall = _SIDE * min(2.0, height / width)
        title = textwrap.wrap(f"“{self.text}”", max(24, 20 * columns)) + [f"→ {self.verdict}"] * bool(self.verdict)
        figure = Figure(
            figsize=(_SIDE * columns, (tall + 0.3) * rows + 0.24 * len(title) + 0.35),
            layout="constrained", facecolor="white",
        )  # fmt: skip
        figure.get_layout_engine().set(w_pad=0.04, h_pad=0.04)
        figure.suptitle("\n".join(title), fontsize=12, color=INK, fontweight="bold", parse_math=False)
        figure.supxlabel(self.method, fontsize=8, color=FAINT)
        axes = figure.subplots(rows, columns, squeeze=False)
        if several:
            for label, row, maps in zip(self.labels, axes, self.maps, strict=True):
                for word, panel, values in zip(self.words, row, maps, strict=True):
                    self._panel(panel, word if label == self.labels[0] else "", values)
                row[0].set_ylabel(label, fontsize=8, color=FAINT)
            return figure
        places = axes.reshape(-1)
        self._panel(places[0], "", None)
        for word, panel, values in zip(self.words, places[1:], self.maps[0], strict=False):
            self._panel(panel, word, values)
        for panel in places[panels:]:
            panel.set_axis_off()
        return figure

    def save(self, path: str | Path) -> None:
        """Write what `draw` gives as a PNG."""
        with written_whole(path) as aside:
            save(self.draw(), aside)

    def _panel(self, axes: Axes, word: str, values: np.ndarray | None) -> None:
        axes.imshow(self.picture if values is None else self._lit(values), interpolation="bilinear")
        axes.set_title(textwrap.shorten(word, 22, placeholder="…"), fontsize=11, color=INK, pad=4, parse_math=False)
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(color="#ced4da", linewidth=0.8)

    def _lit(self, values: np.ndarray) -> np.ndarray:
        """The picture [height, width, 3] in [0, 1], pale and grey, glowing where the map is high."""
        # Differences of less than a hundredth of the mean are no reason to light a cell.
        deviations = (values - values.mean()) / max(values.std(), 0.01 * values.mean(), np.finfo(float).tiny)
        lit = np.sqrt(np.clip((deviations - _FROM) / (_TO - _FROM), 0, 1))
        glow = np.clip(self.cells.spread(lit, *self.picture.shape[:2]), 0, 1)[..., None]
        grey = np.repeat((self.picture / 255) @ _LUMA, 3).reshape(self.picture.shape)
        pale = (1 - _FADED) * grey + _FADED
        return pale * (1 - 0.85 * glow) + np.array(_HEAT) * 0.85 * glow
