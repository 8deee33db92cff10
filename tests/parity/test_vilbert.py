"""ViLBERT against a torch model of the paper's equations (Lu et al. 2019, section 3) under the original's names."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.parity.conftest import TINY, Pair, close, seeds
from tests.parity.originals import (
    ACTIVATIONS,
    EPSILON,
    Embeddings,
    Layer,
    WordHead,
    assert_round_trip,
    attend,
    classifier,
    convert,
    draw_inputs,
    named,
    regions_of,
    text_of,
)
from vlfusion_jax.core import names
from vlfusion_jax.models.families.table import hyperparameters

ANSWERS = 9, 5  # of VQA and GQA


class CoAttentionLayer(nn.Module):
    """Each stream reads the other, then goes through its own MLP; 1 and v the image, 2 and t the text."""

    def __init__(self, model: dict):
        super().__init__()
        self.heads, cross = model["cross_heads"], model["cross_width"]
        widths = {"1": model["image_width"], "2": model["text_width"]}
        self.biattention, self.biOutput = named(), named()
        for stream, width in widths.items():
            for part in ("query", "key", "value"):
                self.biattention[part + stream] = nn.Linear(width, cross)
            self.biOutput["dense" + stream] = nn.Linear(cross, width)
            self.biOutput["q_dense" + stream] = nn.Linear(cross, width)
            self.biOutput["LayerNorm" + stream] = nn.LayerNorm(width, EPSILON)
        self.activations = [ACTIVATIONS[model[name]] for name in ("image_activation", "activation")]
        for letter, name, width in (("v", "image", widths["1"]), ("t", "text", widths["2"])):
            hidden = model[f"{name}_mlp_width"]
            self.add_module(f"{letter}_intermediate", named(dense=nn.Linear(width, hidden)))
            output = named(dense=nn.Linear(hidden, width), LayerNorm=nn.LayerNorm(width, EPSILON))
            self.add_module(f"{letter}_output", output)

    def forward(self, image, image_mask, text, text_mask):
        parts, after = self.biattention, self.biOutput
        new, maps = [], []
        for own, x, other, y, mask in (("1", image, "2", text, text_mask), ("2", text, "1", image, image_mask)):
            keys, values = parts["key" + other](y), parts["value" + other](y)
            read, weights = attend(parts["query" + own](x), keys, values, mask, self.heads)
            new.append(after["LayerNorm" + own](x + after["dense" + own](read)))
            maps.append(weights)
        for i, letter in enumerate("vt"):
            expand, contract = getattr(self, f"{letter}_intermediate"), getattr(self, f"{letter}_output")
            hidden = self.activations[i](expand["dense"](new[i]))
            new[i] = contract["LayerNorm"](new[i] + contract["dense"](hidden))
        return *new, *maps


class Vilbert(nn.Module):
    """Text layers, then co-attentions with a layer of each stream behind.

    `answers` are those of VQA and GQA, which come with the other heads of 12-in-1; with none there are those of
    pretraining.
    """

    def __init__(self, model: dict, vocab: int, answers: tuple[int, ...]):
        super().__init__()
        text, image, cross = model["text_width"], model["image_width"], model["cross_width"]
        of_text = (text, model["text_heads"], model["text_mlp_width"], model["activation"])
        of_image = (image, model["image_heads"], model["image_mlp_width"], model["image_activation"])
        self.alone, fused = model["text_layers"], range(model["cross_layers"])
        self.bert = named(
            embeddings=Embeddings(vocab, text, model["text_positions"], model["token_types"]),
            v_embeddings=named(
                image_embeddings=nn.Linear(model["region_features"], image),
                image_location_embeddings=nn.Linear(5, image),
                LayerNorm=nn.LayerNorm(image, EPSILON),
            ),
            encoder=named(
                layer=nn.ModuleList(Layer(*of_text) for _ in range(self.alone + len(fused))),
                v_layer=nn.ModuleList(Layer(*of_image) for _ in fused),
                c_layer=nn.ModuleList(CoAttentionLayer(model) for _ in fused),
            ),
            t_pooler=named(dense=nn.Linear(text, cross)),
            v_pooler=named(dense=nn.Linear(image, cross)),
        )
        self.activation = ACTIVATIONS[model["activation"]]
        self.cls = named(
            predictions=WordHead(self.bert["embeddings"].word_embeddings, model["activation"]),
            bi_seq_relationship=nn.Linear(cross, 2),
            imagePredictions=named(
                transform=named(dense=nn.Linear(image, image), LayerNorm=nn.LayerNorm(image, EPSILON)),
                decoder=nn.Linear(image, model["region_classes"]),
            ),
        )
        if answers:
            self.vil_prediction = named(logit_fc=classifier(cross, 2 * cross, answers[0]))
            self.vil_prediction_gqa = named(logit_fc=classifier(cross, 2 * cross, answers[1]))
            self.vil_binary_prediction = named(logit_fc=classifier(2 * cross, 2 * cross, 2))
            self.vil_logit = nn.Linear(cross, 1)
            self.vil_tri_prediction = nn.Linear(cross, 3)
            self.vision_logit, self.linguisic_logit = nn.Linear(image, 1), nn.Linear(text, 1)

    def forward(self, text, regions):
        """`text` and `regions` as `text_of` and `with_whole` have them."""
        (ids, types, text_mask), (vectors, boxes, mask) = text, regions
        area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
        part, encoder = self.bert["v_embeddings"], self.bert["encoder"]
        place = part["image_location_embeddings"](torch.cat([boxes, area[..., None]], -1))
        image = part["LayerNorm"](part["image_embeddings"](vectors) + place)
        text = self.bert["embeddings"](ids, types)
        kinds = ("text", "image", "text_cross", "image_cross", "text_self", "image_self")
        seen = {kind: [] for kind in kinds} | {"text": [text], "image": [image]}
        for layer in encoder["layer"][: self.alone]:
            text, weights = layer(text, text_mask)
            seen["text"].append(text)
            seen["text_self"].append(weights)
        layers = (encoder["c_layer"], encoder["v_layer"], encoder["layer"][self.alone :])
        for both, own_image, own_text in zip(*layers, strict=True):
            image, text, image_cross, text_cross = both(image, mask, text, text_mask)
            image, image_self = own_image(image, mask)
            text, text_self = own_text(text, text_mask)
            new = (text, image, text_cross, image_cross, text_self, image_self)
            for kind, x in zip(kinds, new, strict=True):
                seen[kind].append(x)
        pooled = [self.bert["t_pooler"]["dense"](text[:, 0]), self.bert["v_pooler"]["dense"](image[:, 0])]
        return seen, pooled[0].relu() * pooled[1].relu()

    def region_classes(self, image):
        """Logits of the classes of regions."""
        head = self.cls["imagePredictions"]
        hidden = head["transform"]["LayerNorm"](self.activation(head["transform"]["dense"](image)))
        return head["decoder"](hidden)


def with_whole(vectors, boxes, mask):
    """The regions behind one that is the whole image: the mean of the real ones, in a box of the image's size."""
    mean = torch.stack([x[keep > 0].mean(0) for x, keep in zip(vectors, mask, strict=True)])
    box = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(len(boxes), 1, 4)
    one = torch.ones(len(mask), 1, dtype=mask.dtype)
    return torch.cat([mean[:, None], vectors], 1), torch.cat([box, boxes], 1), torch.cat([one, mask], 1)


def draw(seed: int) -> tuple[dict, int]:
    """Small hyperparameters that are the default in nothing, and the size of the vocabulary."""
    rng = np.random.default_rng(seed)
    heads = [int(n) for n in rng.integers(2, 5, 3)]
    widths = [n * int(each) for n, each in zip(heads, rng.choice([4, 6, 8], 3), strict=True)]
    activations = [str(each) for each in rng.choice(["gelu", "relu", "silu"], 2)]
    return {
        "text_width": widths[0], "text_heads": heads[0], "text_mlp_width": int(rng.integers(17, 50)),
        "image_width": widths[1], "image_heads": heads[1], "image_mlp_width": int(rng.integers(17, 50)),
        "cross_width": widths[2], "cross_heads": heads[2], "text_layers": int(rng.integers(1, 4)),
        "cross_layers": int(rng.integers(1, 4)), "activation": activations[0], "image_activation": activations[1],
        "text_positions": int(rng.integers(11, 20)), "token_types": int(rng.integers(2, 4)),
        "region_features": int(rng.integers(10, 30)), "regions": int(rng.integers(4, 8)),
        "region_classes": int(rng.integers(5, 20)),
    }, int(rng.integers(90, 140))  # fmt: skip


def make(seed: int, folder, answers: tuple[int, ...]) -> tuple[dict, int, Pair]:
    """Hyperparameters, vocabulary and the pair."""
    model, vocab = draw(seed)
    pair = convert(Vilbert(model, vocab, answers), seed, folder, "vilbert", model, pickled=bool(seed % 2))
    return model, vocab, pair


@pytest.mark.parametrize("seed", seeds(0, 1, 2, 3, 4))
def test_every_token_attention_map_and_head_of_pretraining(tmp_path, seed):
    model, vocab, pair = make(seed, tmp_path, answers=())
    inputs = draw_inputs(model, vocab, seed)
    output, theirs = pair.run(inputs), pair.theirs
    seen, pooled = theirs(text_of(inputs), with_whole(*regions_of(inputs)))

    masks = {"text": np.asarray(output.text_mask) > 0, "image": np.asarray(output.image_mask) > 0}
    alone, fused = output.hidden["text_layers"], output.hidden["fusion"]
    states = {
        "text": [output.embedded["text"], *alone["text"], *fused["text"]],
        "image": [output.embedded["image"], *fused["image"]],
    }
    for stream, ours in states.items():
        for i, (one, other) in enumerate(zip(ours, seen[stream], strict=True)):
            close(one, other, TINY, masks[stream], f"{stream} {i}")
    maps = {name: list(output.attention["fusion"][f"{name}_{i}"]) for name, i in (
        ("text_cross", 0), ("image_cross", 0), ("text_self", 2), ("image_self", 2),
    )}  # fmt: skip
    maps["text_self"] = [*output.attention["text_layers"]["text_self_0"], *maps["text_self"]]
    for name, ours in maps.items():
        for i, (one, other) in enumerate(zip(ours, seen[name], strict=True)):
            keep = np.broadcast_to(masks[name.split("_")[0]][:, None, :, None], other.shape)
            close(one, other, TINY, keep, f"{name} {i}")
    close(output.pooled, pooled, TINY, what="pooled")

    assert set(pair.ours.heads) == {names.ITM, names.MLM, names.REGION}
    # Theirs says 1 of a text that does not match.
    close(output.logits[names.ITM][:, ::-1], theirs.cls["bi_seq_relationship"](pooled), TINY)
    close(output.logits[names.MLM][..., :vocab], theirs.cls["predictions"](seen["text"][-1]), TINY, masks["text"])
    regions = theirs.region_classes(seen["image"][-1])
    close(output.logits[names.REGION]["classes"], regions, TINY, masks["image"])
    assert_round_trip(pair)


@pytest.mark.parametrize("seed", seeds(10, 11))
def test_heads_of_answers_pairs_and_retrieval(tmp_path, seed):
    model, vocab, pair = make(seed, tmp_path, ANSWERS)
    inputs = draw_inputs(model, vocab, seed, images=2)
    _, pooled = pair.theirs(text_of(inputs), with_whole(*regions_of(inputs)))
    logits = pair.run(inputs).logits
    close(logits[names.VQA][:, : ANSWERS[0]], pair.theirs.vil_prediction["logit_fc"](pooled), TINY)
    close(logits[names.RETRIEVAL], pair.theirs.vil_logit(pooled), TINY)
    pairs = pooled.unflatten(0, (3, 2)).flatten(1)
    close(logits[names.NLVR], pair.theirs.vil_binary_prediction["logit_fc"](pairs), TINY)
    assert_round_trip(pair)


def test_as_many_parameters_as_published():
    model = hyperparameters("vilbert")
    with torch.device("meta"):
        theirs = Vilbert(model, 30522, (3129, 1533))
    assert sum(x.numel() for x in theirs.parameters()) == pytest.approx(270e6, rel=0.01)  # Lu et al. 2020, abstract
