"""One layer of a fusion stage: sub-layers over one joint stream, or over a text and an image stream.

A stage names its sub-layers, which is enough to spell out the families (Bugliarello et al. 2021, "Multimodal
Pretraining Unmasked"): `self, mlp` on the joint stream is ViLT and UNITER, `cross, self, mlp` on two streams LXMERT,
`self, cross, mlp` on two streams METER, on the text stream with the image as context ALBEF and BLIP.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.layers.attention import Attention
from vlfusion_jax.layers.mlp import Mlp
from vlfusion_jax.layers.norm import LayerNorm
from vlfusion_jax.parallel.strategy import constrain

SELF = "self"
CROSS = "cross"
MLP = "mlp"


@dataclass(frozen=True)
class BlockSpec:
    """What all layers of a model have in common.

    Attributes:
      heads: attention heads; they divide the width.
      mlp_width: hidden width of the feed-forward part.
      norm: `pre` (ViT) or `post` (BERT): where the layer norm of a residual branch stands.
      norm_epsilon: of the layer norms.
      activation: key of `ops.activations.ACTIVATIONS`.
      dropout: on the output of every residual branch.
      attention_dropout: on the attention weights.
    """

    heads: int
    mlp_width: int
    norm: str
    norm_epsilon: float
    activation: str
    dropout: float
    attention_dropout: float


class FusionLayer(nn.Module):
    """Applies `sublayers` in order to every stream in `streams`.

    Attributes:
      streams: names of the streams that the layer updates.
      context: name of a stream that it only reads, or empty; `cross` needs two streams, or one and a context.
      sublayers: of `self`, `cross`, `mlp`.
      capture: also return the hidden states and attention weights.
    """

    spec: BlockSpec
    streams: tuple[str, ...]
    context: str
    sublayers: tuple[str, ...]
    train: bool
    capture: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: dict[str, jax.Array], masks: dict[str, jax.Array]) -> tuple[dict[str, jax.Array], dict]:
        """`x` {stream: [batch, tokens, embed]}, `masks` {stream: [batch, tokens]} → the new `x`, what was captured.

        The context may have fewer rows than the streams, see `Attention`.
        """
        attention = {}
        pre = self.spec.norm == "pre"
        for i, kind in enumerate(self.sublayers):
            read_only = (self.context,) if kind == CROSS and self.context else ()
            present = self.streams + read_only
            normed = present if pre else self.streams
            norms = {s: LayerNorm(self.spec.norm_epsilon, self.dtype, name=f"{s}_{kind}_norm") for s in normed}
            read = {s: norms[s](x[s]) if pre else x[s] for s in present}
            new = dict(x)
            for s in self.streams:
                if kind == MLP:
                    module = Mlp(self.spec.mlp_width, self.spec.activation, self.dtype, name=f"{s}_mlp")
                    branch = module(read[s])
                else:
                    other = s if kind == SELF else present[1 - present.index(s)]
                    module = Attention(
                        self.spec.heads, self.spec.attention_dropout, self.train, self.dtype, name=f"{s}_{kind}"
                    )
                    branch, attention[f"{s}_{kind}_{i}"] = module(read[s], read[other], masks[other])
                branch = nn.Dropout(self.spec.dropout, deterministic=not self.train)(branch)
                new[s] = x[s] + branch if pre else norms[s](x[s] + branch)
                new[s] = constrain(new[s], names.BATCH, names.SEQUENCE, names.EMBED_ACTIVATION)
            x = new
        return x, {"hidden": x, "attention": attention} if self.capture else {}
