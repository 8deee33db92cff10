"""What a fusion model is, as frozen data: inputs that become streams of tokens, steps on the streams, pools, heads.

Every family of `models.families` is a value of `ModelSpec`; `models.fusion.FusionModel` runs it.
"""

from dataclasses import dataclass

from vlfusion_jax.core.arithmetic import round_up
from vlfusion_jax.layers.block import Stage

# Names of streams that outputs and heads know; a family may have others, such as learned tokens.
TEXT = "text"
IMAGE = "image"
JOINT = "joint"  # text and image tokens in one sequence
TARGET = "target"  # text that is generated
POOLED = "pooled"  # for contrastive heads: the fused vector, as a stream of one token

# Vocabularies and answer sets are padded to a multiple of this: it divides over any usual mesh, and fills TPU lanes.
TABLE_MULTIPLE = 128


def pooled_of(stream: str) -> str:
    """For contrastive heads: the vector that the model pools of `stream`, as a stream of one token."""
    return f"{stream}_pooled"


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
        return round_up(self.vocab, TABLE_MULTIPLE)

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
    def cells(self) -> tuple[int, int]:
        """Rows and columns of the canvas at the resolution of the tokens."""
        if self.tokens == "patch":
            return self.size[0] // self.patch, self.size[1] // self.patch
        stride = 2 ** {"conv": len(self.channels), "resnet": len(self.depths) + 1, "vgg": len(self.depths)}[self.tokens]
        rows, columns = self.size
        if self.tokens == "vgg":  # pools without padding, where the others round up
            return rows // stride, columns // stride
        return -(-rows // stride), -(-columns // stride)

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


@dataclass(frozen=True)
class Join:
    """The `joint` stream: text, then image tokens. They are parted again behind the last step."""


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


Input = TextInput | ImageInput | RegionInput | LearnedInput
Step = Stage | Join | Add | Transform | Bridge | Recurrent


@dataclass(frozen=True)
class Pool:
    """One vector of a stream.

    Attributes:
      stream: read.
      how: `first` token, `last` valid token, `mean` of the valid tokens, or `map`: attention of a learned probe, then
        x + MLP(norm(x)) (SigLIP, Zhai et al. 2023).
      width: of a projection behind; 0 = none.
      bias: whether it has one.
      activation: behind the projection: key of `ops.activations.ACTIVATIONS`, or empty.
      heads, mlp_width, epsilon, mlp_activation: of `map`.
    """

    stream: str
    how: str = "first"
    width: int = 0
    bias: bool = True
    activation: str = ""
    heads: int = 0
    mlp_width: int = 0
    epsilon: float = 1e-6
    mlp_activation: str = "gelu_tanh"


@dataclass(frozen=True)
class Combine:
    """How the pooled vectors become the one that heads read.

    Attributes:
      how: `only` (there is one), `concat`, `sum`, `product`, `attention` (a learned softmax over them), `gated` (GMU,
        Arevalo et al. 2017), `bilinear` (MFB, Yu et al. 2017), or `late`: heads read each vector on their own and
        their logits are summed with weights.
      width: of the result of `gated` and `bilinear`.
      factors: `bilinear`: products summed for each result.
      weights: `late`: of the vectors' logits; empty = learned.
    """

    how: str = "only"
    width: int = 0
    factors: int = 0
    weights: tuple[float, ...] = ()


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
    """Logits of classes from the fused vector.

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
        return round_up(self.classes, TABLE_MULTIPLE) if self.pad else self.classes


@dataclass(frozen=True)
class RegionHead:
    """Predictions about each image token: (name, size) pairs behind one projection, activation and norm (LXMERT)."""

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


@dataclass(frozen=True)
class ModelSpec:
    """A fusion model.

    Attributes:
      inputs: what becomes the first streams.
      steps: on the streams, in order.
      pools: vectors, in the order in which `combine` reads them; may be none.
      combine: of the pooled vectors.
      heads: by name, sorted by it.
      text, image: streams that hold the fused text and image tokens in the end.
      modalities, modality_width: rows and width of the modality table; 0 = none.
      scan, remat: see `layers.stack.Stack`.
    """

    inputs: tuple[Input, ...]
    steps: tuple[Step, ...]
    pools: tuple[Pool, ...]
    heads: tuple[tuple[str, Head], ...]
    combine: Combine = Combine()
    text: str = TEXT
    image: str = IMAGE
    modalities: int = 0
    modality_width: int = 0
    scan: bool = True
    remat: str = "dots"

    def input(self, stream: str) -> Input:
        """The input that begins `stream`."""
        return next(each for each in self.inputs if each.stream == stream)

    def head(self, name: str) -> Head:
        """The head called `name`."""
        return dict(self.heads)[name]

    def words(self, head: WordHead) -> TextInput:
        """The input whose words `head` predicts."""
        return self.input(TEXT if head.stream in (self.text, JOINT) else head.stream)
