"""A whole model: inputs that become streams of tokens, steps on the streams, pools, heads.

Every family of `models.families` is a value of `ModelSpec`; `models.fusion.FusionModel` runs it.
"""

from dataclasses import dataclass, field

from vlfusion_jax.models.spec.heads import Head, WordHead
from vlfusion_jax.models.spec.inputs import Input, TextInput
from vlfusion_jax.models.spec.pools import Combine, Pool
from vlfusion_jax.models.spec.steps import Step
from vlfusion_jax.models.spec.streams import IMAGE, JOINT, TEXT


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
    combine: Combine = field(default_factory=Combine)
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

    def writes_into(self, head: str) -> str:
        """The stream that a word head writes: `target`, of a decoder, or `text`, behind an image as its prefix."""
        return self.words(self.head(head)).stream

    def words(self, head: WordHead) -> TextInput:
        """The input whose words `head` predicts."""
        return self.input(TEXT if head.stream in (self.text, JOINT) else head.stream)
