"""One layer of a stage: sub-layers over one stream, or over several side by side.

A stage names its sub-layers, which is enough to spell out the families (Bugliarello et al. 2021, "Multimodal
Pretraining Unmasked"): `self, mlp` on the joint stream is ViLT and UNITER, `cross, self, mlp` on two streams LXMERT,
`cross, mlp, self, mlp` ViLBERT, `self, cross, mlp` METER, and on the text stream with the image as context ALBEF and
BLIP.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.layers.attention import Attention
from vlfusion_jax.layers.dropout import Dropout
from vlfusion_jax.layers.mlp import Mlp
from vlfusion_jax.layers.norm import LayerNorm
from vlfusion_jax.ops.masks import in_order
from vlfusion_jax.parallel.strategy import constrain

SELF = "self"
CROSS = "cross"
MLP = "mlp"
SHARED = "shared"


@dataclass(frozen=True)
class BlockSpec:
    """What the layers of a stream have in common.

    Attributes:
      heads: attention heads; they divide the width.
      mlp_width: hidden width of the feed-forward part.
      norm: `pre` (ViT) or `post` (BERT): where the layer norm of a residual branch stands.
      norm_epsilon: of the layer norms.
      activation: key of `ops.activations.ACTIVATIONS`.
      dropout: on the output of every residual branch.
      attention_dropout: on the attention weights.
      cross_heads, cross_width: of `cross`, where they differ from the heads and the stream's width; 0 = they do not.
    """

    heads: int
    mlp_width: int
    norm: str
    norm_epsilon: float
    activation: str
    dropout: float = 0.0
    attention_dropout: float = 0.0
    cross_heads: int = 0
    cross_width: int = 0


@dataclass(frozen=True)
class Stage:
    """Equal Transformer layers on the same streams.

    Attributes:
      name: of the module.
      streams: that they update.
      blocks: one for each stream, or one for all.
      sublayers: of `self`, `cross`, `mlp`, in order.
      layers: how many.
      context: streams that `cross` reads and leaves as they are, laid end to end; with none it reads the other stream.
      tied: sub-layers whose parameters the streams share.
      alone: streams that skip `cross`.
      causal: whether `self` sees only what comes before.
      ordered: whether a token sees, in `self`, only those whose number in the mask is at most its own: text numbered
        from 2 on behind an image of ones is written from left to right, and the image does not see it (prefix LM, Dong
        et al. 2019, "UniLM", section 2.2). Masks of ones are as ever.
      bottleneck: stream of tokens through which alone the streams exchange (Nagrani et al. 2021), or empty.
      cross_entered: whether `cross` reads the other stream as it entered the layer (METER), not as the sub-layers
        before left it.
    """

    name: str
    streams: tuple[str, ...]
    blocks: tuple[BlockSpec, ...]
    sublayers: tuple[str, ...]
    layers: int
    context: tuple[str, ...] = ()
    tied: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    causal: bool = False
    ordered: bool = False
    bottleneck: str = ""
    cross_entered: bool = False


class FusionLayer(nn.Module):
    """Applies the sub-layers of `stage` in order to every one of its streams.

    Attributes:
      train: apply dropout.
      capture: also return the hidden states and attention weights.
    """

    stage: Stage
    train: bool
    capture: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: dict[str, jax.Array], masks: dict[str, jax.Array], places: jax.Array | None = None
    ) -> tuple[dict[str, jax.Array], dict]:
        """`x` {stream: [batch, tokens, width]}, `masks` {stream: [batch, tokens]} → the new `x`, what was captured.

        Streams that are only read may have fewer rows than those updated, see `Attention`, and there also of `places`
        [batch, tokens], where the tokens of a stage's only stream stand.
        """
        if self.stage.bottleneck:
            x, captured = self._through_bottleneck(x, masks)
        else:
            x, captured = self._sublayers(x, masks, places)
        return x, {"hidden": x, "attention": captured} if self.capture else {}

    def _through_bottleneck(self, x: dict[str, jax.Array], masks: dict[str, jax.Array]) -> tuple[dict, dict]:
        """Every stream attends to itself and to the bottleneck tokens, whose new values are averaged."""
        b = self.stage.bottleneck
        longer = {s: jnp.concatenate([x[s], x[b]], axis=1) for s in self.stage.streams}
        longer_masks = {s: jnp.concatenate([masks[s], masks[b]], axis=1) for s in self.stage.streams}
        longer, captured = self._sublayers(longer, longer_masks)
        new = {s: longer[s][:, : x[s].shape[1]] for s in self.stage.streams}
        new[b] = sum(longer[s][:, x[s].shape[1] :] for s in self.stage.streams) / len(self.stage.streams)
        return x | new, captured

    def _sublayers(
        self, x: dict[str, jax.Array], masks: dict[str, jax.Array], places: jax.Array | None = None
    ) -> tuple[dict, dict]:
        attention, made, entered = {}, {}, x

        def module(kind: type[nn.Module], *settings: Any, name: str) -> nn.Module:
            if name not in made:
                made[name] = kind(*settings, self.dtype, name=name)
            return made[name]

        for i, kind in enumerate(self.stage.sublayers):
            again = self.stage.sublayers[:i].count(kind)
            suffix = f"{kind}_{again + 1}" if again else kind
            new = dict(x)

            def norm(s: str, block: BlockSpec, kind: str = kind, suffix: str = suffix) -> nn.Module:
                return module(LayerNorm, block.norm_epsilon, name=f"{self._prefix(s, kind)}_{suffix}_norm")

            for s in self.stage.streams:
                if kind == CROSS and s in self.stage.alone:
                    continue
                block, name = self._block(s), f"{self._prefix(s, kind)}_{suffix}"
                read = norm(s, block)(x[s]) if block.norm == "pre" else x[s]
                if kind == MLP:
                    branch = module(Mlp, block.mlp_width, block.activation, name=name)(read)
                else:
                    keys, mask = read, in_order(masks[s]) if self.stage.ordered else masks[s]
                    if kind == CROSS:
                        others, source = self._others(s), entered if self.stage.cross_entered else x
                        normed = [norm(o, block)(source[o]) if block.norm == "pre" else source[o] for o in others]
                        keys = normed[0] if len(others) == 1 else jnp.concatenate(normed, axis=1)
                        mask = jnp.concatenate([masks[o] for o in others], axis=1)
                    attend = module(Attention, *self._attention(block, kind), name=name)
                    branch, attention[f"{s}_{kind}_{i}"] = attend(read, keys, mask, places)
                branch = Dropout(block.dropout, self.train)(branch)
                new[s] = x[s] + branch if block.norm == "pre" else norm(s, block)(x[s] + branch)
                new[s] = constrain(new[s], names.BATCH, names.RESIDUAL_SEQUENCE, names.EMBED_ACTIVATION)
            x = new
        return x, attention

    def _prefix(self, stream: str, kind: str) -> str:
        return SHARED if kind in self.stage.tied and stream in self.stage.streams else stream

    def _others(self, stream: str) -> tuple[str, ...]:
        return self.stage.context or tuple(s for s in self.stage.streams if s != stream)

    def _block(self, stream: str) -> BlockSpec:
        return self.stage.blocks[self.stage.streams.index(stream) if len(self.stage.blocks) > 1 else 0]

    def _attention(self, block: BlockSpec, kind: str) -> tuple:
        cross = kind == CROSS
        heads = (cross and block.cross_heads) or block.heads
        width = block.cross_width if cross else 0
        return heads, width, block.attention_dropout, self.train, self.stage.causal and not cross, self.capture
