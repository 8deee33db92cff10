"""BERT's parts in torch, from the papers' equations, under the parameter names that the papers' repositories share.

For families that have no class in `transformers`. Everything runs without dropout; masks are 1 where a token is real.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import gelu, relu, silu

from tests.parity.conftest import Pair, randomise
from tests.parity.regions import draw_regions, draw_text
from vlfusion_jax.convert.original import export_original, import_original
from vlfusion_jax.convert.source import open_checkpoint
from vlfusion_jax.core import names

ACTIVATIONS = {"gelu": gelu, "relu": relu, "silu": silu}
EPSILON = 1e-12


def named(**modules: nn.Module) -> nn.ModuleDict:
    """Modules under these names."""
    return nn.ModuleDict(modules)


def attend(query, key, value, mask, heads: int):
    """softmax(q k / √d) v of each head: [rows, t, width] and the weights [rows, heads, t, s]; `mask` [rows, s]."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    scores = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).masked_fill(mask[:, None, None] == 0, -torch.inf)
    weights = scores.softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2), weights


def attention(width: int, keys: int, epsilon: float) -> nn.ModuleDict:
    """Parameters of an attention to tokens of width `keys`, and of the norm behind it."""
    return named(
        self=named(query=nn.Linear(width, width), key=nn.Linear(keys, width), value=nn.Linear(keys, width)),
        output=named(dense=nn.Linear(width, width), LayerNorm=nn.LayerNorm(width, epsilon)),
    )


class Embeddings(nn.Module):
    """LN(word + position + type), positions counted from `first`."""

    def __init__(self, vocab: int, width: int, positions: int, types: int, first: int = 0, epsilon: float = EPSILON):
        super().__init__()
        self.first = first
        self.word_embeddings = nn.Embedding(vocab, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.token_type_embeddings = nn.Embedding(types, width)
        self.LayerNorm = nn.LayerNorm(width, epsilon)

    def forward(self, ids, types):
        positions = self.position_embeddings.weight[self.first : self.first + ids.shape[1]]
        return self.LayerNorm(self.word_embeddings(ids) + positions + self.token_type_embeddings(types))


class Layer(nn.Module):
    """x = LN(x + attention(x)), x = LN(x + MLP(x))."""

    def __init__(self, width: int, heads: int, mlp_width: int, activation: str, epsilon: float = EPSILON):
        super().__init__()
        self.heads, self.activation = heads, ACTIVATIONS[activation]
        self.attention = attention(width, width, epsilon)
        self.intermediate = named(dense=nn.Linear(width, mlp_width))
        self.output = named(dense=nn.Linear(mlp_width, width), LayerNorm=nn.LayerNorm(width, epsilon))

    def forward(self, x, mask):
        x, weights = self.read(self.attention, x, x, mask)
        return self.feed(x), weights

    def read(self, part, x, other, mask):
        own, after = part["self"], part["output"]
        read, weights = attend(own["query"](x), own["key"](other), own["value"](other), mask, self.heads)
        return after["LayerNorm"](x + after["dense"](read)), weights

    def feed(self, x):
        hidden = self.activation(self.intermediate["dense"](x))
        return self.output["LayerNorm"](x + self.output["dense"](hidden))


class CrossLayer(Layer):
    """A layer that behind its own stream attends to `other`, of width `keys`."""

    def __init__(self, width: int, heads: int, mlp_width: int, activation: str, keys: int, epsilon: float = EPSILON):
        super().__init__(width, heads, mlp_width, activation, epsilon)
        self.crossattention = attention(width, keys, epsilon)

    def forward(self, x, mask, other, other_mask):
        x, weights = self.read(self.attention, x, x, mask)
        x, cross_weights = self.read(self.crossattention, x, other, other_mask)
        return self.feed(x), (weights, cross_weights)


class WordHead(nn.Module):
    """Word logits with the word table as the last map."""

    def __init__(self, words: nn.Embedding, activation: str, epsilon: float = EPSILON):
        super().__init__()
        width = words.weight.shape[1]
        self.activation = ACTIVATIONS[activation]
        self.transform = named(dense=nn.Linear(width, width), LayerNorm=nn.LayerNorm(width, epsilon))
        self.decoder = nn.Linear(width, len(words.weight), bias=False)
        self.decoder.weight = words.weight
        self.bias = nn.Parameter(torch.zeros(len(words.weight)))

    def forward(self, x):
        return self.decoder(self.transform["LayerNorm"](self.activation(self.transform["dense"](x)))) + self.bias


def classifier(width: int, hidden: int, classes: int) -> nn.Sequential:
    """Linear, GELU, LN, Linear."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.LayerNorm(hidden, EPSILON), nn.Linear(hidden, classes))


def convert(model: nn.Module, seed: int, folder: Path, family: str, changes: dict, pickled: bool) -> Pair:
    """The pair, its weights random and gone through a file of tensors alone; `changes` as of `import_original`."""
    randomise(model.eval(), seed)
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    file = folder / ("theirs.pt" if pickled else "theirs.safetensors")
    (torch.save if pickled else save_file)(tensors, file)
    return Pair(model, folder, import_original(open_checkpoint(str(file)), family, changes=changes))


def assert_round_trip(pair: Pair) -> None:
    """Ours as theirs again: byte for byte all that was read, and nothing but copies and what was ignored missing."""
    ours, tensors = pair.ours, pair.theirs.state_dict()
    back = export_original(ours.family, ours.model, ours.sizes, ours.heads, ours.params)
    assert set(tensors) - set(back) == set(ours.account.copies) | set(ours.account.ignored)
    assert not set(back) - set(tensors)
    for name, array in back.items():
        np.testing.assert_array_equal(array, tensors[name].numpy(), err_msg=name, strict=True)


def draw_inputs(model: dict, vocab: int, seed: int, rows: int = 3, images: int = 1) -> dict[str, np.ndarray]:
    """Texts and regions with holes in their masks; `images` images for each text."""
    rng = np.random.default_rng(seed)
    text = draw_text(rng, rows, 9, vocab, model["token_types"])
    regions = draw_regions(rng, rows * images, model["regions"], model["region_features"])
    return {name: np.repeat(x, images, axis=0) for name, x in text.items()} | regions


def text_of(inputs: dict[str, np.ndarray]) -> tuple[torch.Tensor, ...]:
    """Ids, types and mask."""
    parts = (inputs[name] for name in (names.TEXT, names.types_of(names.TEXT), names.TEXT_MASK))
    return tuple(torch.tensor(x).long() for x in parts)


def regions_of(inputs: dict[str, np.ndarray]) -> tuple[torch.Tensor, ...]:
    """Vectors, boxes and mask."""
    return tuple(torch.tensor(inputs[name]) for name in (names.REGIONS, names.BOXES, names.REGION_MASK))
