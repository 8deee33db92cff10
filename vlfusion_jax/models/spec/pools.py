"""From streams to the vector that heads read. `models.pooling` runs it."""

from dataclasses import dataclass


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
