"""A checkpoint's keys beside our parameters, as data: one map a family, read in both directions.

PyTorch keeps a linear map as [out, in] with the heads of attention in one dim, a convolution as [out, in, height,
width]; ours are [in, …, out …] with heads apart, and [height, width, in, out]. An entry says which of these it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from vlfusion_jax.layers.block import MLP, SHARED

LINEAR = "linear"  # [out, in] <-> [in, …out]
LINEAR_IN = "linear_in"  # [out, in] <-> […in, out]: the kernel behind attention, whose input is split into heads
CONV = "conv"  # [out, in, height, width] <-> [height, width, in, out], or those first three flattened
VECTOR = "vector"  # [n] <-> any shape of n numbers
TABLE = "table"  # the same array
LAYER = "{i}"


@dataclass(frozen=True)
class Entry:
    """One parameter of ours and the key that holds it.

    Attributes:
      theirs: key of their checkpoint; `{i}` stands for the number of a layer.
      ours: path of our parameter; a part `{i}` for the layer of a stage, however that is laid out.
      how: one of the constants above.
      rows: (first, end) rows of their array, which holds other parameters in the rest; None = all of it.
      ones: leading dims of size 1 that theirs has.
      reverse: whether their rows are in reverse order.
      size: their rows of a table, or outputs of a linear map or bias, where ours is padded to more; 0 = the same.
      first: number of their layer that is our layer 0.
      layers: how many layers `{i}` counts.
    """

    theirs: str
    ours: str
    how: str = VECTOR
    rows: tuple[int, int] | None = None
    ones: int = 0
    reverse: bool = False
    size: int = 0
    first: int = 0
    layers: int = 0

    def unrolled(self) -> Iterable[tuple["Entry", int | None]]:
        """An entry for each layer with `{i}` filled in, and the layer's number; itself and None without `{i}`."""
        if LAYER not in self.ours and LAYER not in self.theirs:
            return [(self, None)]
        return [(replace(self, theirs=self.theirs.replace(LAYER, str(self.first + i))), i) for i in range(self.layers)]


@dataclass(frozen=True)
class NameMap:
    """All that a family's checkpoint holds.

    Attributes:
      entries: what is carried over.
      copies: {key: key of which it is a copy}: tied weights, which some checkpoints store twice; held to be equal.
      ignored: {regular expression of a key: why it is not needed}.
    """

    entries: tuple[Entry, ...]
    copies: dict[str, str]
    ignored: dict[str, str]


def linear(theirs: str, ours: str, **more) -> list[Entry]:
    """Weight and bias of a linear map. `size` counts outputs."""
    return [
        Entry(f"{theirs}.weight", f"{ours}/kernel", LINEAR, **more),
        Entry(f"{theirs}.bias", f"{ours}/bias", **more),
    ]


def norm(theirs: str, ours: str, **more) -> list[Entry]:
    """Weight and bias of a layer norm."""
    return [Entry(f"{theirs}.weight", f"{ours}/scale", **more), Entry(f"{theirs}.bias", f"{ours}/bias", **more)]


def attention(query: str, key: str, value: str, output: str, ours: str, **more) -> list[Entry]:
    """The four linear maps of an attention, by their keys without `.weight` and `.bias`."""
    return [
        *linear(query, f"{ours}/query", **more),
        *linear(key, f"{ours}/key", **more),
        *linear(value, f"{ours}/value", **more),
        *attention_output(output, ours, **more),
    ]


def attention_output(theirs: str, ours: str, **more) -> list[Entry]:
    """The linear map behind an attention."""
    return [
        Entry(f"{theirs}.weight", f"{ours}/output/kernel", LINEAR_IN, **more),
        Entry(f"{theirs}.bias", f"{ours}/output/bias", **more),
    ]


def fused_attention(weight: str, bias: str, output: str, ours: str, width: int, **more) -> list[Entry]:
    """An attention whose query, key and value are the rows of one matrix, each `width` of them."""
    entries = attention_output(output, ours, **more)
    for i, name in enumerate(("query", "key", "value")):
        rows = (i * width, (i + 1) * width)
        entries.append(Entry(weight, f"{ours}/{name}/kernel", LINEAR, rows=rows, **more))
        entries.append(Entry(bias, f"{ours}/{name}/bias", rows=rows, **more))
    return entries


def mlp(expand: str, contract: str, ours: str, **more) -> list[Entry]:
    """The two linear maps of a feed-forward part."""
    return [*linear(expand, f"{ours}/expand", **more), *linear(contract, f"{ours}/contract", **more)]


def bert_layers(
    theirs: str,
    stage: str,
    stream: str,
    layers: int,
    first: int = 0,
    cross: bool = False,
    again: str = "",
    tied: tuple[str, ...] = (),
) -> list[Entry]:
    """Post-norm layers named as BERT's, `theirs` being what stands before `attention` with `{i}` in it.

    Args:
      theirs: such as `bert.encoder.layer.{i}`.
      stage: name of the stage that holds them.
      stream: of the stage.
      layers: how many.
      first: number of theirs that is our layer 0.
      cross: whether there is a `crossattention`.
      again: ending of the feed-forward part's name in a stage that has several: `_2`.
      tied: sub-layers that the stage's streams share.
    """
    more = {"layers": layers, "first": first}
    entries = []

    def place(kind: str) -> str:
        return f"{stage}/{LAYER}/{SHARED if kind in tied else stream}_{kind}"

    for kind, name in (("self", "attention"), ("cross", "crossattention")) if cross else (("self", "attention"),):
        parts = (f"{theirs}.{name}.self.{part}" for part in ("query", "key", "value"))
        entries += attention(*parts, f"{theirs}.{name}.output.dense", place(kind), **more)
        entries += norm(f"{theirs}.{name}.output.LayerNorm", f"{place(kind)}_norm", **more)
    entries += mlp(f"{theirs}.intermediate.dense", f"{theirs}.output.dense", f"{place(MLP)}{again}", **more)
    return entries + norm(f"{theirs}.output.LayerNorm", f"{place(MLP)}{again}_norm", **more)


@dataclass(frozen=True)
class LayerKeys:
    """What a checkpoint calls the parts of a pre-norm layer.

    Attributes:
      qkv: query, key and value, or weight and bias of the one matrix that holds all three.
      output: the linear map behind the attention.
      norms: before attention and feed-forward part.
      mlp: the two linear maps of the feed-forward part.
    """

    qkv: tuple[str, ...]
    output: str
    norms: tuple[str, str]
    mlp: tuple[str, str]


_FCS = ("mlp.fc1", "mlp.fc2")
# CLIP, SigLIP, ViT and BLIP as in transformers.
CLIP_LAYER = LayerKeys(
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "self_attn.out_proj", ("layer_norm1", "layer_norm2"),
    _FCS,
)  # fmt: skip
VIT_LAYER = LayerKeys(
    ("attention.attention.query", "attention.attention.key", "attention.attention.value"), "attention.output.dense",
    ("layernorm_before", "layernorm_after"), ("intermediate.dense", "output.dense"),
)  # fmt: skip
BLIP_LAYER = LayerKeys(
    ("self_attn.qkv.weight", "self_attn.qkv.bias"), "self_attn.projection", ("layer_norm1", "layer_norm2"), _FCS
)
# OpenAI's CLIP, as in BridgeTower and METER; timm's ViT, as in ALBEF.
OPENAI_LAYER = LayerKeys(
    ("attn.in_proj_weight", "attn.in_proj_bias"), "attn.out_proj", ("ln_1", "ln_2"), ("mlp.c_fc", "mlp.c_proj")
)
TIMM_LAYER = LayerKeys(("attn.qkv.weight", "attn.qkv.bias"), "attn.proj", ("norm1", "norm2"), _FCS)


def pre_norm_layers(
    theirs: str, stage: str, stream: str, layers: int, keys: LayerKeys, width: int, first: int = 0
) -> list[Entry]:
    """Pre-norm layers of attention and feed-forward part, `theirs` being what stands before the parts with `{i}` in it.

    Args:
      theirs: such as `vision_model.encoder.layers.{i}`.
      stage: name of the stage that holds them.
      stream: of the stage.
      layers: how many.
      keys: of the parts.
      width: of the tokens.
      first: number of theirs that is our layer 0.
    """
    ours, more = f"{stage}/{LAYER}/{stream}", {"layers": layers, "first": first}
    qkv, output = [f"{theirs}.{key}" for key in keys.qkv], f"{theirs}.{keys.output}"
    if len(qkv) == 2:
        entries = fused_attention(*qkv, output, f"{ours}_self", width, **more)
    else:
        entries = attention(*qkv, output, f"{ours}_self", **more)
    expand, contract = (f"{theirs}.{key}" for key in keys.mlp)
    return [
        *entries,
        *norm(f"{theirs}.{keys.norms[0]}", f"{ours}_self_norm", **more),
        *mlp(expand, contract, f"{ours}_mlp", **more),
        *norm(f"{theirs}.{keys.norms[1]}", f"{ours}_mlp_norm", **more),
    ]


def patch_embeddings(
    patches: str, positions: str, cells: int, cls: str = "", bias: bool = True, ones: int = 0
) -> list[Entry]:
    """Patches and their positions, behind a class token where `cls` names one, whose position is the first.

    Args:
      patches: key of the convolution without `.weight` and `.bias`.
      positions: key of the position table.
      cells: patches that the table counts.
      cls: key of the class token.
      bias: whether the convolution has one.
      ones: leading dims of size 1 of the position table; a class token has twice as many.
    """
    grid = Entry(positions, "image/grid/positions/table", TABLE, ones=ones)
    entries = [Entry(f"{patches}.weight", "image/patches/projection/kernel", CONV)]
    if bias:
        entries.append(Entry(f"{patches}.bias", "image/patches/projection/bias"))
    if not cls:
        return [*entries, grid]
    return [
        *entries,
        Entry(cls, "image/cls", ones=2 * ones),
        Entry(positions, "image/cls_position", rows=(0, 1), ones=ones),
        replace(grid, rows=(1, 1 + cells)),
    ]


def bert_embeddings(theirs: str, stream: str, vocab: int, types: bool = True, normed: str = "") -> list[Entry]:
    """Word, position and type tables and their norm, `theirs` being what stands before `word_embeddings`.

    `normed` is the path of our norm where it is not part of the stream's embedding.
    """
    ours = f"{stream}/embedding"
    entries = [
        Entry(f"{theirs}.word_embeddings.weight", f"{ours}/words/table", TABLE, size=vocab),
        Entry(f"{theirs}.position_embeddings.weight", f"{ours}/positions/table", TABLE),
    ]
    if types:
        entries.append(Entry(f"{theirs}.token_type_embeddings.weight", f"{ours}/token_types/table", TABLE))
    return entries + norm(f"{theirs}.LayerNorm", normed or f"{ours}/norm")


def word_head(theirs: str, ours: str, vocab: int, bias: str = "decoder.bias") -> list[Entry]:
    """Transform and bias of BERT's word head, `theirs` being what stands before `transform`; the table is tied."""
    return [
        *linear(f"{theirs}.transform.dense", f"{ours}/transform"),
        *norm(f"{theirs}.transform.LayerNorm", f"{ours}/norm"),
        Entry(f"{theirs}.{bias}", f"{ours}/bias", size=vocab),
    ]


def class_head(ours: str, expand: str, norm_key: str, classes: str, size: int) -> list[Entry]:
    """Two linear maps with a norm between them; `size` counts the classes."""
    return [
        *linear(expand, f"{ours}/expand"),
        *norm(norm_key, f"{ours}/norm"),
        *linear(classes, f"{ours}/classes", size=size),
    ]


# Buffers that old versions of transformers stored beside the weights.
OLD_BUFFERS = {r"(^|\.)position_ids$": "a buffer that counts positions", r"(^|\.)token_type_ids$": "a buffer of zeros"}
