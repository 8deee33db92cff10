"""What happens to the streams, one step behind the other. `models.fusion` and `models.steps` run them."""

from dataclasses import dataclass

from vlfusion_jax.layers.block import Stage


@dataclass(frozen=True)
class Join:
    """The `joint` stream: text, then image tokens. They are parted again behind the last step.

    Attributes:
      together: whether the images of a text that has several lie end to end in its row, rather than each in a row of
        its own with the text again.
    """

    together: bool = False


@dataclass(frozen=True)
class Add:
    """`target` = each of its tokens plus the mean of the valid tokens of `source`, which is as wide."""

    source: str
    target: str


@dataclass(frozen=True)
class Transform:
    """`target` = norm(projection(norm(`source`)) + modality), each part where asked for; nothing asked for copies.

    Attributes:
      name: of the module; steps of one name share their parameters.
      source, target: streams.
      width: of the projection; 0 = none.
      norm_in, norm_out: epsilon of the norm before and after; None = no norm.
      modality: row of the modality table to add; None = none.
      by_image: whether the batch's `image_modality` [images] takes the place of `modality` where it is given.
      dropout: of the result.
    """

    name: str
    source: str
    target: str
    width: int = 0
    norm_in: float | None = None
    norm_out: float | None = None
    modality: int | None = None
    by_image: bool = False
    dropout: float = 0.0


@dataclass(frozen=True)
class Bridge:
    """`target` = norm(`source` and `target` combined) (BridgeTower, Xu et al. 2023, section 3.4).

    Attributes:
      name: of the module.
      source, target: streams.
      how: `add`: x + y; `scaled_add`: s x + y; `interpolate`: (1 - b) x + b y; s and b are learned.
      epsilon: of the norm.
    """

    name: str
    source: str
    target: str
    how: str
    epsilon: float


@dataclass(frozen=True)
class Recurrent:
    """Recurrent layers over a stream: `lstm` (Hochreiter and Schmidhuber 1997) or `gru` (Cho et al. 2014).

    Attributes:
      name: of the module.
      stream: that it updates.
      cell: `lstm` or `gru`.
      width: hidden size of a direction; the stream becomes that wide, or twice where bidirectional.
      layers: how many.
      bidirectional: also from the end, states joined.
    """

    name: str
    stream: str
    cell: str
    width: int
    layers: int = 1
    bidirectional: bool = False


Step = Stage | Join | Add | Transform | Bridge | Recurrent
