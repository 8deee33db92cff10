"""What a fusion model is, as frozen data."""

from dataclasses import dataclass
from typing import Any

from vlfusion_jax.core import names
from vlfusion_jax.core.arithmetic import round_up
from vlfusion_jax.layers.block import CROSS, MLP, SELF, BlockSpec

JOINT = "joint"
TEXT_STREAM = "text"
IMAGE_STREAM = "image"

# Vocabularies and answer sets are padded to a multiple of this: it divides over any usual mesh, and fills TPU lanes.
TABLE_MULTIPLE = 128


@dataclass(frozen=True)
class Stage:
    """Equal layers on the same streams.

    Attributes:
      streams: `("joint",)` for text and image tokens in one sequence, else one or both of `text` and `image`.
      sublayers: of `self`, `cross`, `mlp`, in order.
      layers: how many.
      context: a stream that they read and leave as it is, or empty.
    """

    streams: tuple[str, ...]
    sublayers: tuple[str, ...]
    layers: int
    context: str = ""

    @property
    def image_once(self) -> bool:
        """Whether the texts of an image can share its tokens: nothing here writes text into them."""
        return self.streams == (IMAGE_STREAM,) or self.streams == (TEXT_STREAM,)


@dataclass(frozen=True)
class ImageSpec:
    """How pixels become tokens: `patch` (linear patches) or `conv` (a stack of strided convolutions).

    Attributes:
      tokens: `patch` or `conv`.
      size: height and width of the canvas, in pixels.
      patch: side of a patch.
      channels: features of each convolution, which halves the resolution.
    """

    tokens: str
    size: tuple[int, int]
    patch: int
    channels: tuple[int, ...]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of image tokens."""
        if self.tokens == "patch":
            return self.size[0] // self.patch, self.size[1] // self.patch
        rows, columns = self.size
        for _ in self.channels:
            rows, columns = -(-rows // 2), -(-columns // 2)
        return rows, columns


@dataclass(frozen=True)
class ModelSpec:
    """A fusion model.

    Attributes:
      block: what all its layers share.
      stages: applied in order; stages on single streams come before the streams meet.
      width: of the tokens.
      image: the image tokens.
      text_length: longest text of any view.
      vocab: number of word pieces.
      answers: number of answers.
      answer_hidden: hidden width of the answer head.
      scan, remat: see `layers.stack.Stack`.
    """

    block: BlockSpec
    stages: tuple[Stage, ...]
    width: int
    image: ImageSpec
    text_length: int
    vocab: int
    answers: int
    answer_hidden: int
    scan: bool
    remat: str

    @property
    def padded_vocab(self) -> int:
        return round_up(self.vocab, TABLE_MULTIPLE)

    @property
    def padded_answers(self) -> int:
        return round_up(max(1, self.answers), TABLE_MULTIPLE)


def stages_from_config(model: Any) -> tuple[Stage, ...]:
    """Stages of `config.model`, by its kind.

    `single_stream`: ViLT (Kim et al. 2021); `two_stream`: LXMERT (Tan and Bansal 2019); `cross_attention`: ALBEF
    (Li et al. 2021), where text reads the image and not the other way, so that an image is encoded once for all texts.
    """
    if model.kind == "single_stream":
        return (Stage((JOINT,), (SELF, MLP), model.layers),)
    fused = {
        "two_stream": Stage((TEXT_STREAM, IMAGE_STREAM), (CROSS, SELF, MLP), model.cross_layers),
        "cross_attention": Stage((TEXT_STREAM,), (SELF, CROSS, MLP), model.cross_layers, context=IMAGE_STREAM),
    }[model.kind]
    stages = (
        Stage((TEXT_STREAM,), (SELF, MLP), model.text_layers),
        Stage((IMAGE_STREAM,), (SELF, MLP), model.image_layers),
        fused,
    )
    return tuple(stage for stage in stages if stage.layers)


def text_lengths(data: Any) -> dict[str, int]:
    """Padded tokens of the text that each task reads, from `config.data`."""
    return {names.VQA: data.question_length, names.MLM: data.caption_length, names.ITM: data.caption_length}


def spec_from_config(config: Any, num_tokens: int, num_answers: int) -> ModelSpec:
    """The model of a resolved run configuration.

    Args:
      config: see `config.schema`.
      num_tokens: size of the tokenizer's vocabulary.
      num_answers: size of the answer vocabulary.
    """
    model, data = config.model, config.data
    lengths = text_lengths(data)
    return ModelSpec(
        block=BlockSpec(
            heads=model.heads,
            mlp_width=model.mlp_width,
            norm=model.norm,
            norm_epsilon=model.norm_epsilon,
            activation=model.activation,
            dropout=model.dropout,
            attention_dropout=model.attention_dropout,
        ),
        stages=stages_from_config(model),
        width=model.width,
        image=ImageSpec(model.image_tokens, tuple(data.image_size), model.patch_size, tuple(model.conv_channels)),
        text_length=max(lengths[task] for task in lengths if config.tasks[task].weight > 0),
        vocab=num_tokens,
        answers=num_answers,
        answer_hidden=config.tasks.vqa.hidden or 2 * model.width,
        scan=model.scan_layers,
        remat=model.remat,
    )
