"""What a model predicts. `models.heads` runs it."""

from dataclasses import dataclass

from vlfusion_jax.models.spec.pools import Pool
from vlfusion_jax.models.spec.tables import padded_rows

# Of a mean colour: channels, and classes of each.
COLOURS = (3, 256)


@dataclass(frozen=True)
class WordHead:
    """Word logits of a stream of text, or of the joint stream that begins with it, at given positions or at all.

    Attributes:
      stream: read.
      activation: between projection and norm.
      epsilon: of the norm.
      everywhere: logits at every position (a decoder), or at the inputs' `target_positions`; not at their `positions`.
      tied: whether the word table of the stream's input is the last projection.
    """

    stream: str
    activation: str
    epsilon: float
    everywhere: bool = False
    tied: bool = True


@dataclass(frozen=True)
class ClassHead:
    """Logits of classes, or the numbers of another vector, from the fused one.

    Attributes:
      classes: how many.
      hidden: width between two projections; 0 = one projection.
      norm_first: whether the norm stands before the activation (ViLT, METER) or behind it (LXMERT, UNITER).
      activation, epsilon: of the part between the projections.
      rows: consecutive rows whose vectors are read together (2 for a pair of images).
      read: `pooled`: the fused vector; `last_word`: the text token before the last valid one.
      pad: whether the classes are padded like a vocabulary, to be split over devices.
    """

    classes: int
    hidden: int = 0
    norm_first: bool = True
    activation: str = "gelu"
    epsilon: float = 1e-5
    rows: int = 1
    read: str = "pooled"
    pad: bool = False

    @property
    def padded(self) -> int:
        return padded_rows(self.classes) if self.pad else self.classes


@dataclass(frozen=True)
class RegionHead:
    """Predictions about each image token: (name, size) pairs behind one projection, activation and norm (LXMERT).

    Where the inputs hide cells of the image, about these alone.
    """

    outputs: tuple[tuple[str, int], ...]
    activation: str
    epsilon: float


@dataclass(frozen=True)
class ContrastiveHead:
    """Normalised vectors of text and image, and their scaled products.

    Attributes:
      vectors: (name, pool) pairs, `text` and `image` among them; pools may also read `POOLED` and what
        `pooled_of` a stream gives.
      scale: initial log of the scale; None = products are not scaled by it.
      temperature: initial number by which products are divided (ALBEF); None = they are not.
      bias: initial bias; None = none.
    """

    vectors: tuple[tuple[str, Pool], ...]
    scale: float | None = 2.6592
    bias: float | None = None
    temperature: float | None = None


Head = WordHead | ClassHead | RegionHead | ContrastiveHead
