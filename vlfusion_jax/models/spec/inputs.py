"""What becomes a stream of tokens: texts, images, regions of images, learned tokens. `models.inputs` runs them."""

from dataclasses import dataclass

from vlfusion_jax.models.spec.streams import IMAGE
from vlfusion_jax.models.spec.tables import padded_rows


@dataclass(frozen=True)
class TextInput:
    """Word pieces that become a stream: word + position (+ type), normalised, + modality.

    Attributes:
      stream: `text`, read from the batch's `text`, or `target`, read from `target`.
      vocab: number of word pieces.
      width: of the tokens.
      length: rows of the position table, the longest text plus `position_offset`.
      types: rows of the token-type table; 0 = none.
      position_offset: position of the first token (RoBERTa: 2).
      epsilon: of the layer norm after the sum; None = no norm.
      modality: row of the modality table that is added to all tokens; None = none.
      dropout: after the norm.
      fixed_row: row of the word, position and type tables that look-ups do not train, PyTorch's `padding_idx`; None =
        none.
    """

    stream: str
    vocab: int
    width: int
    length: int
    types: int = 0
    position_offset: int = 0
    epsilon: float | None = 1e-12
    modality: int | None = None
    dropout: float = 0.0
    fixed_row: int | None = None

    @property
    def padded_vocab(self) -> int:
        return padded_rows(self.vocab)

    @property
    def room(self) -> int:
        """Tokens of the longest text."""
        return self.length - self.position_offset


@dataclass(frozen=True)
class ImageInput:
    """Pixels that become a stream of tokens in raster order, behind a class token where there is one.

    Attributes:
      tokens: `patch` (linear patches), `conv` (a small stack of strided convolutions), or a tower whose last map is
        read as a grid: `resnet` or `vgg`; `layers.convnet.TOWERS` has resnet50, resnet101, resnet152 and vgg16.
      size: height and width of the canvas, in pixels.
      width: of the tokens.
      patch: side of a patch.
      patch_bias: whether patches are projected with a bias.
      channels: `conv`: features of each convolution, which halves the resolution; `resnet`: of the stem, then of each
        stage; `vgg`: of each stage.
      depths: `resnet`, `vgg`: layers of each stage.
      projected: `resnet`, `vgg`: whether the cells are mapped to `width`, which else is the last of `channels`.
      cls: a learned token before the others.
      positions: `sincos` (learned, from sines and cosines), `learned`, `interpolated` (a learned grid, stretched over
        the valid part of each image, of which the valid patches come first), `none`.
      grid: rows and columns of the `interpolated` table.
      max_tokens: `interpolated`: patches kept of an image; a training step draws them, else they are evenly spread.
      epsilon: of the layer norm over the sum; None = no norm.
      modality: as in `TextInput`.
      dropout: after the norm.
      mean, std: of the pixels' channels, in [0, 1].
      stream: `image`.
    """

    tokens: str
    size: tuple[int, int]
    width: int
    patch: int = 0
    patch_bias: bool = True
    channels: tuple[int, ...] = ()
    depths: tuple[int, ...] = ()
    projected: bool = True
    cls: bool = False
    positions: str = "learned"
    grid: tuple[int, int] = (0, 0)
    max_tokens: int = 0
    epsilon: float | None = None
    modality: int | None = None
    dropout: float = 0.0
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    stream: str = IMAGE

    @property
    def stride(self) -> int:
        """Side of the square of the canvas that a token stands for, in pixels."""
        if self.tokens == "patch":
            return self.patch
        return 2 ** {"conv": len(self.channels), "resnet": len(self.depths) + 1, "vgg": len(self.depths)}[self.tokens]

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of the canvas at the resolution of the tokens."""
        rows, columns = self.size
        if self.tokens in ("patch", "vgg"):  # without padding, where the others round up
            return rows // self.stride, columns // self.stride
        return -(-rows // self.stride), -(-columns // self.stride)

    @property
    def count(self) -> int:
        """Tokens of an image, padding and class token included."""
        cells = self.cells[0] * self.cells[1]
        return (min(cells, self.max_tokens) if self.max_tokens else cells) + self.cls


@dataclass(frozen=True)
class RegionInput:
    """Regions of an image, each a vector and a box, that become a stream.

    Attributes:
      form: how vector f and box b are combined. `lxmert`: (LN(Wf) + LN(Vb)) / 2, b = 4 coordinates; `uniter`:
        LN(LN(Wf) + LN(Vb) + a type of the text's table, 1 where the batch chooses none), b = 7 numbers; `vilbert`:
        LN(Wf + Vb), b = 5 numbers; `visualbert`: Wf + position 0 + type 1 + the mean of the text's positions that the
        batch's `alignment` lists, if it has one; b unused.
      features: size of a region's vector.
      width: of the tokens.
      count: regions of an image, padding included.
      mask_vector: whether a learned vector stands in the place of hidden regions; else it is zero.
      whole: a region before them that is the whole image, its vector the mean of theirs (ViLBERT).
      epsilon: of the layer norms.
      types, length: `visualbert`: rows of the visual type and position tables.
      patch: side of a square patch: the regions are then the patches of the batch's image, a vector being a patch's
        pixels; 0 = regions are given in the batch.
      size: with `patch`, height and width of the canvas, in pixels.
      dropout: after the sum.
      stream: `image`.
    """

    form: str
    features: int
    width: int
    count: int
    epsilon: float = 1e-12
    types: int = 0
    length: int = 0
    patch: int = 0
    size: tuple[int, int] = (0, 0)
    dropout: float = 0.0
    whole: bool = False
    mask_vector: bool = False
    stream: str = IMAGE

    @property
    def tokens(self) -> int:
        """Tokens of an image, padding and the whole image included."""
        return self.count + self.whole


@dataclass(frozen=True)
class LearnedInput:
    """`count` learned tokens, the same for every row: bottleneck tokens, or the state of a hierarchical fusion."""

    stream: str
    count: int
    width: int


Input = TextInput | ImageInput | RegionInput | LearnedInput
