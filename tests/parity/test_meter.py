"""METER against a torch model of the paper's equations (Dou et al. 2022, section 3) under the original's names."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.parity.conftest import TINY, close, seeds
from tests.parity.originals import CrossLayer, Embeddings, Layer, WordHead, assert_round_trip, convert, named
from tests.parity.pixels import draw_images, pixels_of
from tests.parity.regions import draw_text
from vlfusion_jax.core import names

ANSWERS = 9
HEADS = {
    "pretraining": (names.ITM, names.MLM), "answers": (names.VQA,), "pairs": (names.NLVR,),
    "retrieval": (names.ITM, names.RETRIEVAL),
}  # fmt: skip


class ClipLayer(nn.Module):
    """x = x + attention(LN(x)), x = x + MLP(LN(x))."""

    def __init__(self, width: int, epsilon: float):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // 64, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        self.mlp = named(c_fc=nn.Linear(width, 4 * width), c_proj=nn.Linear(4 * width, width))

    def forward(self, x):
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed)[0]
        hidden = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](hidden * torch.sigmoid(1.702 * hidden))


class ClipImages(nn.Module):
    """Patches behind a class token, with positions and a norm; layers; a norm."""

    def __init__(self, model: dict, cells: int):
        super().__init__()
        width, patch, epsilon = model["image_width"], model["patch_size"], model["image_norm_epsilon"]
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(cells**2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        layers = [ClipLayer(width, epsilon) for _ in range(model["image_layers"])]
        self.transformer = named(resblocks=nn.ModuleList(layers))

    def forward(self, pixels):
        patches = self.conv1(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(patches), 1, -1), patches], 1) + self.positional_embedding
        hidden = [self.ln_pre(x)]
        for layer in self.transformer["resblocks"]:
            hidden.append(layer(hidden[-1]))
        return hidden, self.ln_post(hidden[-1])


class Clip(nn.Module):
    """The image tower, and what else the original stores of CLIP."""

    def __init__(self, model: dict, cells: int):
        super().__init__()
        self.visual = ClipImages(model, cells)
        self.token_embedding, self.ln_final = nn.Embedding(7, 5), nn.LayerNorm(5)
        self.positional_embedding = nn.Parameter(torch.zeros(3, 5))


class Meter(nn.Module):
    """Both towers, then layers of which each reads its own stream and what the other one was before this layer."""

    def __init__(self, model: dict, vocab: int, cells: int, heads: str):
        super().__init__()
        width, epsilon, cross_epsilon = model["width"], model["text_norm_epsilon"], model["cross_norm_epsilon"]
        layer = width, model["heads"], model["mlp_width"], model["activation"]
        self.text_transformer = named(
            embeddings=Embeddings(vocab, width, model["text_positions"], 1, first=2, epsilon=epsilon),
            encoder=named(layer=nn.ModuleList(Layer(*layer, epsilon) for _ in range(model["text_layers"]))),
            pooler=named(dense=nn.Linear(width, width)),
        )
        self.vit_model = Clip(model, cells)
        self.token_type_embeddings = nn.Embedding(model["modalities"], width)
        for kind, inputs in (("text", width), ("image", model["image_width"])):
            layers = [CrossLayer(*layer, width, cross_epsilon) for _ in range(model["cross_layers"])]
            setattr(self, f"cross_modal_{kind}_transform", nn.Linear(inputs, width))
            setattr(self, f"cross_modal_{kind}_layers", nn.ModuleList(layers))
            setattr(self, f"cross_modal_{kind}_pooler", named(dense=nn.Linear(width, width)))
        if names.MLM in HEADS[heads]:
            self.mlm_score = WordHead(nn.Embedding(vocab, width), model["activation"], cross_epsilon)
        if names.ITM in HEADS[heads]:
            self.itm_score = named(fc=nn.Linear(2 * width, 2))
        if names.RETRIEVAL in HEADS[heads]:
            self.rank_output = nn.Linear(2 * width, 1)
        if names.VQA in HEADS[heads]:
            self.vqa_classifier = classifier(2 * width, 2 * width, ANSWERS)
        if names.NLVR in HEADS[heads]:
            self.nlvr2_classifier = classifier(4 * width, 2 * width, 2)

    def forward(self, ids, mask, pixels, image_type: int = 1):
        """Every hidden state: text, image, both fused, with attention maps; the two streams' pooled vectors as one."""
        text = [self.text_transformer["embeddings"](ids, torch.zeros_like(ids))]
        for layer in self.text_transformer["encoder"]["layer"]:
            text.append(layer(text[-1], mask)[0])
        image, last = self.vit_model.visual(pixels)
        types, every = self.token_type_embeddings.weight, torch.ones(last.shape[:2])
        x = self.cross_modal_text_transform(text[-1]) + types[0]
        y = self.cross_modal_image_transform(last) + types[image_type]
        fused = []
        for text_layer, image_layer in zip(self.cross_modal_text_layers, self.cross_modal_image_layers, strict=True):
            (x, of_text), (y, of_image) = text_layer(x, mask, y, every), image_layer(y, every, x, mask)
            fused.append({"text": (x, *of_text), "image": (y, *of_image)})
        poolers = self.cross_modal_text_pooler["dense"], self.cross_modal_image_pooler["dense"]
        pooled = torch.cat([pooler(each[:, 0]).tanh() for pooler, each in zip(poolers, (x, y), strict=True)], -1)
        return text, image, fused, pooled


def classifier(inputs: int, hidden: int, classes: int) -> nn.Sequential:
    """Linear, LN, GELU, Linear."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, classes))


def make(seed: int, folder, heads: str, images: int = 1):
    """The pair on small hyperparameters that are the default in nothing, and inputs; `images` images for each text."""
    rng = np.random.default_rng(seed)
    count, patch, cells = int(rng.integers(2, 5)), int(rng.choice([4, 6])), int(rng.integers(2, 5))
    layers = {f"{part}_layers": int(rng.integers(1, 4)) for part in ("text", "image", "cross")}
    model = layers | {
        "width": count * int(rng.choice([4, 8])), "heads": count, "mlp_width": int(rng.integers(17, 50)),
        "activation": str(rng.choice(["gelu", "relu", "silu"])), "text_positions": int(rng.integers(13, 20)),
        "image_width": 64 * int(rng.integers(1, 3)), "patch_size": patch, "modalities": 1 + images,
        "text_norm_epsilon": 1e-4, "image_norm_epsilon": 1e-3, "cross_norm_epsilon": 1e-2,
    }  # fmt: skip
    vocab = int(rng.integers(90, 140))
    pair = convert(Meter(model, vocab, cells, heads), seed, folder, "meter", model, pickled=bool(seed % 2))
    text = {name: np.repeat(x, images, axis=0) for name, x in draw_text(rng, 3, 9, vocab, 1).items()}
    return pair, text | draw_images(rng, 3 * images, cells * patch)


def theirs_of(inputs: dict[str, np.ndarray]):
    """Ids, mask and pixels."""
    ids, mask = (torch.tensor(inputs[name]).long() for name in (names.TEXT, names.TEXT_MASK))
    return ids, mask, pixels_of(inputs)


@pytest.mark.parametrize("seed", seeds(0, 1, 2, 3))
def test_every_token_attention_map_and_head_of_pretraining(tmp_path, seed):
    pair, inputs = make(seed, tmp_path, "pretraining")
    output, (text, image, fused, pooled) = pair.run(inputs), pair.theirs(*theirs_of(inputs))
    keep = inputs[names.TEXT_MASK] > 0
    for kind, states, rows in (("text", text, keep), ("image", image, None)):
        ours = [output.embedded[kind], *output.hidden[f"{kind}_layers"][kind]]
        for i, (one, other) in enumerate(zip(ours, states, strict=True)):
            close(one, other, TINY, rows, f"{kind} {i}")
    for i, layer in enumerate(fused):
        for kind, rows in (("text", keep), ("image", None)):
            state, own, cross = layer[kind]
            close(output.hidden["fusion"][f"fused_{kind}"][i], state, TINY, rows, f"fused {kind} {i}")
            for name, other in ((f"fused_{kind}_self_0", own), (f"fused_{kind}_cross_1", cross)):
                queries = None if rows is None else np.broadcast_to(keep[:, None, :, None], other.shape)
                close(output.attention["fusion"][name][i], other, TINY, queries, f"{name} {i}")
    close(output.pooled, pooled, TINY, what="pooled")
    words = pair.theirs.mlm_score(fused[-1]["text"][0])
    close(output.logits[names.MLM][..., : words.shape[-1]], words, TINY, keep)
    close(output.logits[names.ITM], pair.theirs.itm_score["fc"](pooled), TINY)


@pytest.mark.parametrize(("seed", "heads"), [(10, "answers"), (11, "retrieval")])
def test_fine_tuned_heads(tmp_path, seed, heads):
    pair, inputs = make(seed, tmp_path, heads)
    output, pooled = pair.run(inputs), pair.theirs(*theirs_of(inputs))[3]
    assert pair.ours.heads == HEADS[heads]
    if heads == "answers":
        close(output.logits[names.VQA][:, :ANSWERS], pair.theirs.vqa_classifier(pooled), TINY)
    else:
        close(output.logits[names.RETRIEVAL], pair.theirs.rank_output(pooled), TINY)
        close(output.logits[names.ITM], pair.theirs.itm_score["fc"](pooled), TINY)


def test_pairs_of_images(tmp_path):
    pair, inputs = make(20, tmp_path, "pairs", images=2)
    types = np.tile(np.array([1, 2], np.int32), 3)
    ids, mask, pixels = theirs_of(inputs)
    vectors = [pair.theirs(ids[i::2], mask[i::2], pixels[i::2], image_type=i + 1)[3] for i in range(2)]
    theirs = pair.theirs.nlvr2_classifier(torch.cat(vectors, -1))
    close(pair.run(inputs | {names.IMAGE_MODALITY: types}).logits[names.NLVR], theirs, TINY)


@pytest.mark.parametrize(("seed", "heads"), list(enumerate(HEADS, 30)))
def test_there_and_back(tmp_path, seed, heads):
    assert_round_trip(make(seed, tmp_path, heads)[0])
