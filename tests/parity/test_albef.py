"""ALBEF against a torch model of the paper's equations (Li et al. 2021, section 3) under the original's names."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import gelu, normalize

from tests.parity.conftest import TINY, close
from tests.parity.originals import CrossLayer, Embeddings, Layer, WordHead, assert_round_trip, attend, convert, named
from tests.parity.pixels import draw_images, pixels_of
from tests.parity.regions import draw_text
from vlfusion_jax.convert.original import import_original
from vlfusion_jax.convert.source import open_checkpoint
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError


class VitLayer(nn.Module):
    """x = x + attention(LN(x)), x = x + MLP(LN(x))."""

    def __init__(self, width: int, heads: int, mlp_width: int, epsilon: float):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)
        self.attn = named(qkv=nn.Linear(width, 3 * width), proj=nn.Linear(width, width))
        self.mlp = named(fc1=nn.Linear(width, mlp_width), fc2=nn.Linear(mlp_width, width))

    def forward(self, x):
        read, _ = attend(*self.attn["qkv"](self.norm1(x)).chunk(3, -1), torch.ones(x.shape[:2]), self.heads)
        x = x + self.attn["proj"](read)
        return x + self.mlp["fc2"](gelu(self.mlp["fc1"](self.norm2(x))))


class Vit(nn.Module):
    """Patches behind a class token, with positions; layers; a norm."""

    def __init__(self, model: dict, cells: int):
        super().__init__()
        width, patch, epsilon = model["image_width"], model["patch_size"], model["image_norm_epsilon"]
        self.patch_embed = named(proj=nn.Conv2d(3, width, patch, patch))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, cells**2 + 1, width))
        layer = width, model["image_heads"], model["image_mlp_width"], epsilon
        self.blocks = nn.ModuleList(VitLayer(*layer) for _ in range(model["image_layers"]))
        self.norm = nn.LayerNorm(width, epsilon)

    def forward(self, pixels):
        patches = self.patch_embed["proj"](pixels).flatten(2).transpose(1, 2)
        hidden = [torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], 1) + self.pos_embed]
        for block in self.blocks:
            hidden.append(block(hidden[-1]))
        return hidden, self.norm(hidden[-1])


class Albef(nn.Module):
    """As pretrained, or fine-tuned for retrieval: then without words to predict."""

    def __init__(self, model: dict, vocab: int, cells: int, words: bool):
        super().__init__()
        width, compared = model["width"], model["contrastive_width"]
        layer, first = (width, model["heads"], model["mlp_width"], model["activation"]), model["text_layers"]
        fusion = [CrossLayer(*layer, model["image_width"]) for _ in range(model["fusion_layers"])]
        bert = named(
            embeddings=Embeddings(vocab, width, model["text_positions"], model["token_types"]),
            encoder=named(layer=nn.ModuleList([*(Layer(*layer) for _ in range(first)), *fusion])),
        )
        self.visual_encoder, self.visual_encoder_m = Vit(model, cells), Vit(model, cells)
        self.text_encoder, self.first = bert, first
        if words:
            predictions = WordHead(bert["embeddings"].word_embeddings, model["activation"])
            predictions.decoder.bias = predictions.bias
            self.text_encoder = named(bert=bert, cls=named(predictions=predictions))
        self.vision_proj, self.vision_proj_m = (nn.Linear(model["image_width"], compared) for _ in range(2))
        self.text_proj, self.text_proj_m = (nn.Linear(width, compared) for _ in range(2))
        self.itm_head = nn.Linear(width, 2)
        self.temp = nn.Parameter(torch.tensor(0.0))
        for queue in ("image_queue", "text_queue"):
            self.register_buffer(queue, torch.zeros(compared, 5))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    def forward(self, ids, types, mask, pixels):
        """Hidden states of image, text alone and text with the image, these with attention maps; the image's tokens."""
        image, last = self.visual_encoder(pixels)
        bert = dict(self.text_encoder.items()).get("bert", self.text_encoder)
        layers = bert["encoder"]["layer"]
        text, fused = [bert["embeddings"](ids, types)], []
        for layer in layers[: self.first]:
            text.append(layer(text[-1], mask)[0])
        x = text[-1]
        for layer in layers[self.first :]:
            x, maps = layer(x, mask, last, torch.ones(last.shape[:2]))
            fused.append((x, *maps))
        return image, text, fused, last


def make(seed: int, folder, words: bool = True):
    """The pair on small hyperparameters that are the default in nothing, and inputs."""
    rng = np.random.default_rng(seed)
    heads, patch, cells = rng.integers(2, 5, 2), int(rng.choice([4, 6])), int(rng.integers(2, 5))
    layers = {f"{part}_layers": int(rng.integers(1, 4)) for part in ("text", "image", "fusion")}
    model = layers | {
        "width": int(heads[0]) * int(rng.choice([4, 8])), "heads": int(heads[0]),
        "mlp_width": int(rng.integers(17, 50)), "activation": str(rng.choice(["gelu", "relu", "silu"])),
        "text_positions": int(rng.integers(13, 20)), "token_types": int(rng.integers(2, 4)),
        "image_width": int(heads[1]) * int(rng.choice([4, 8])), "image_heads": int(heads[1]),
        "image_mlp_width": int(rng.integers(17, 50)), "image_norm_epsilon": 1e-3, "patch_size": patch,
        "contrastive_width": int(rng.integers(5, 12)),
    }  # fmt: skip
    vocab = int(rng.integers(90, 140))
    theirs = Albef(model, vocab, cells, words)
    pair = convert(theirs, seed, folder, "albef", model, pickled=bool(seed % 2))
    return pair, draw_text(rng, 3, 9, vocab, model["token_types"]) | draw_images(rng, 3, cells * patch)


def theirs_of(inputs: dict[str, np.ndarray]):
    """Ids, types, mask and pixels."""
    text = (torch.tensor(inputs[name]).long() for name in (names.TEXT, names.types_of(names.TEXT), names.TEXT_MASK))
    return *text, pixels_of(inputs)


@pytest.mark.parametrize(("seed", "words"), [(0, True), (1, True), (2, True), (3, True), (4, False), (5, False)])
def test_every_token_attention_map_and_head(tmp_path, seed, words):
    pair, inputs = make(seed, tmp_path, words)
    theirs, output = pair.theirs, pair.run(inputs)
    image, text, fused, last = theirs(*theirs_of(inputs))
    keep = inputs[names.TEXT_MASK] > 0
    for kind, states, rows in (("text", text, keep), ("image", image, None)):
        ours = [output.embedded[kind], *output.hidden[f"{kind}_layers"][kind]]
        for i, (one, other) in enumerate(zip(ours, states, strict=True)):
            close(one, other, TINY, rows, f"{kind} {i}")
    for i, (state, own, cross) in enumerate(fused):
        close(output.hidden["fusion"]["fused_text"][i], state, TINY, keep, f"fused {i}")
        for name, other in (("fused_text_self_0", own), ("fused_text_cross_1", cross)):
            queries = np.broadcast_to(keep[:, None, :, None], other.shape)
            close(output.attention["fusion"][name][i], other, TINY, queries, f"{name} {i}")
    close(output.image, last, TINY, what="image")
    close(output.streams["text"], text[-1], TINY, keep, "the text's own stream")
    state = fused[-1][0]
    close(output.pooled, state[:, 0], TINY, what="pooled")
    close(output.logits[names.ITM], theirs.itm_head(state[:, 0]), TINY)
    if words:
        predictions = theirs.text_encoder["cls"]["predictions"]
        scores = predictions(state) - predictions.bias  # which is stored twice, and added twice here
        close(output.logits[names.MLM][..., : scores.shape[-1]], scores, TINY, keep)
    compared = output.logits[names.CONTRASTIVE]
    vectors = normalize(theirs.text_proj(text[-1][:, 0]), dim=-1), normalize(theirs.vision_proj(last[:, 0]), dim=-1)
    for name, vector in zip((names.TEXT, names.IMAGE), vectors, strict=True):
        close(compared[name], vector, TINY, what=name)
    products = vectors[0] @ vectors[1].T / theirs.temp
    close(compared["logits"] / products.detach().abs().max().item(), products / products.abs().max(), TINY)


@pytest.mark.parametrize(("seed", "words"), [(10, True), (11, False)])
def test_there_and_back(tmp_path, seed, words):
    pair, _ = make(seed, tmp_path, words)
    assert_round_trip(pair)
    assert {key.split(".")[0] for key in pair.ours.account.ignored} == {
        "visual_encoder_m", "vision_proj_m", "text_proj_m", "image_queue", "text_queue", "queue_ptr",
    }  # fmt: skip


def test_another_family_is_refused(tmp_path):
    file = tmp_path / "model.pt"
    torch.save({"transformer.norm.weight": torch.zeros(3)}, file)
    with pytest.raises(UserError, match=r"is not a albef: it has no key visual_encoder.pos_embed"):
        import_original(open_checkpoint(str(file)), "albef")
