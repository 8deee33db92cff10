"""UNITER against a torch model of the paper's equations (Chen et al. 2020, section 3) under the original's names."""

import math
import re

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

from tests.parity.conftest import TINY, close, seeds
from tests.parity.originals import (
    EPSILON,
    Embeddings,
    Layer,
    WordHead,
    assert_round_trip,
    classifier,
    convert,
    draw_inputs,
    named,
    regions_of,
    text_of,
)
from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.models.families.uniter import spec
from vlfusion_jax.models.parameters import param_shapes

ANSWERS = 9


class Uniter(nn.Module):
    """Text and regions in one sequence; `heads` those of pretraining, of question answering or of image pairs."""

    def __init__(self, model: dict, vocab: int, heads: str):
        super().__init__()
        width, features = model["width"], model["region_features"]
        self.uniter = named(
            embeddings=Embeddings(vocab, width, model["text_positions"], model["token_types"]),
            img_embeddings=named(
                img_linear=nn.Linear(features, width),
                img_layer_norm=nn.LayerNorm(width, EPSILON),
                pos_linear=nn.Linear(7, width),
                pos_layer_norm=nn.LayerNorm(width, EPSILON),
                mask_embedding=nn.Embedding(2, features),
                LayerNorm=nn.LayerNorm(width, EPSILON),
            ),
            encoder=named(
                layer=nn.ModuleList(
                    Layer(width, model["heads"], model["mlp_width"], model["activation"])
                    for _ in range(model["layers"])
                )
            ),
            pooler=named(dense=nn.Linear(width, width)),
        )
        if heads == "pretraining":
            self.cls = named(predictions=WordHead(self.uniter["embeddings"].word_embeddings, model["activation"]))
            self.feat_regress = named(net=classifier(width, width, features)[:3])
            self.feat_regress.weight = self.uniter["img_embeddings"]["img_linear"].weight
            self.feat_regress.bias = nn.Parameter(torch.zeros(features))
            self.region_classifier = named(net=classifier(width, width, model["region_classes"]))
            self.itm_output = nn.Linear(width, 2)
        elif heads == "answers":
            self.vqa_output = classifier(width, 2 * width, ANSWERS)
        else:
            self.nlvr2_output = nn.Linear(2 * width, 2)

    def forward(self, text, regions, image_types):
        """`text` and `regions` as `text_of` and `regions_of` have them, `image_types` [images]."""
        (ids, types, text_mask), (vectors, boxes, region_mask) = text, regions
        x1, y1, x2, y2 = boxes.unbind(-1)
        w, h = x2 - x1, y2 - y1
        place = torch.stack([x1, y1, x2, y2, w, h, w * h], -1)
        part, texts = self.uniter["img_embeddings"], self.uniter["embeddings"]
        image = (
            part["img_layer_norm"](part["img_linear"](vectors))
            + part["pos_layer_norm"](part["pos_linear"](place))
            + texts.token_type_embeddings(image_types)[:, None]
        )
        x = torch.cat([texts(ids, types), part["LayerNorm"](image)], 1)
        mask = torch.cat([text_mask, region_mask], 1)
        hidden, attention = [x], []
        for layer in self.uniter["encoder"]["layer"]:
            x, weights = layer(x, mask)
            hidden.append(x)
            attention.append(weights)
        pooled = self.uniter["pooler"]["dense"](x[:, 0]).tanh()
        return hidden, attention, pooled


def draw(seed: int) -> tuple[dict, int]:
    """Small hyperparameters that are the default in nothing, and the size of the vocabulary."""
    rng = np.random.default_rng(seed)
    heads = int(rng.integers(2, 5))
    return {
        "width": heads * int(rng.choice([4, 8])), "heads": heads, "layers": int(rng.integers(1, 4)),
        "mlp_width": int(rng.integers(17, 50)), "activation": str(rng.choice(["gelu", "relu", "silu"])),
        "text_positions": int(rng.integers(11, 20)), "token_types": int(rng.integers(2, 4)),
        "region_features": int(rng.integers(10, 30)), "regions": int(rng.integers(4, 8)),
        "region_classes": int(rng.integers(5, 20)),
    }, int(rng.integers(90, 140))  # fmt: skip


def make(seed: int, folder, heads: str, **more):
    """Hyperparameters, vocabulary and the pair."""
    model, vocab = draw(seed)
    model |= more
    return model, vocab, convert(Uniter(model, vocab, heads), seed, folder, "uniter", model, pickled=bool(seed % 2))


@pytest.mark.parametrize("seed", seeds(0, 1, 2, 3))
def test_every_token_attention_map_and_head_of_pretraining(tmp_path, seed):
    model, vocab, pair = make(seed, tmp_path, "pretraining")
    inputs = draw_inputs(model, vocab, seed)
    output = pair.run(inputs)
    hidden, attention, pooled = pair.theirs(text_of(inputs), regions_of(inputs), torch.ones(3).long())

    mask = np.concatenate([output.text_mask, output.image_mask], 1) > 0
    ours = [jnp.concatenate([output.embedded["text"], output.embedded["image"]], 1), *output.hidden["fusion"]["joint"]]
    for i, (one, other) in enumerate(zip(ours, hidden, strict=True)):
        close(one, other, TINY, mask, f"hidden state {i}")
    for i, other in enumerate(attention):
        keep = np.broadcast_to(mask[:, None, :, None], other.shape)
        close(output.attention["fusion"]["joint_self_0"][i], other, TINY, keep, f"attention {i}")
    close(output.pooled, pooled, TINY, what="pooled")

    tokens = inputs[names.TEXT].shape[1]
    text, image = hidden[-1].split([tokens, model["regions"]], 1)
    theirs = pair.theirs
    assert set(pair.ours.heads) == {names.ITM, names.MLM, names.REGION}
    close(output.logits[names.ITM], theirs.itm_output(pooled), TINY)
    words = theirs.cls["predictions"](text)
    close(output.logits[names.MLM][..., :vocab], words, TINY, inputs[names.TEXT_MASK] > 0)
    regions = theirs.region_classifier["net"](image)
    close(output.logits[names.REGION]["classes"], regions, TINY, inputs[names.REGION_MASK] > 0)
    assert_round_trip(pair)


@pytest.mark.parametrize("seed", seeds(10, 11))
def test_answers(tmp_path, seed):
    model, vocab, pair = make(seed, tmp_path, "answers")
    inputs = draw_inputs(model, vocab, seed)
    *_, pooled = pair.theirs(text_of(inputs), regions_of(inputs), torch.ones(3).long())
    close(pair.run(inputs).logits[names.VQA][:, :ANSWERS], pair.theirs.vqa_output(pooled), TINY)
    assert_round_trip(pair)


@pytest.mark.parametrize("seed", seeds(20, 21))
def test_pairs_of_images(tmp_path, seed):
    model, vocab, pair = make(seed, tmp_path, "pairs", token_types=3)
    inputs = draw_inputs(model, vocab, seed, images=2)
    first_second = np.tile(np.array([1, 2], np.int32), 3)
    *_, pooled = pair.theirs(text_of(inputs), regions_of(inputs), torch.tensor(first_second).long())
    expected = pair.theirs.nlvr2_output(pooled.unflatten(0, (3, 2)).flatten(1))
    close(pair.run(inputs | {names.IMAGE_MODALITY: first_second}).logits[names.NLVR], expected, TINY)
    assert_round_trip(pair)


# Of layers and pooler, which is what fits the numbers of Chen et al. 2020, section 4.
PUBLISHED = {"base": 86e6, "large": 303e6}


@pytest.mark.parametrize("size", PUBLISHED)
def test_as_many_parameters_as_published(size):
    model = hyperparameters("uniter", size)
    shapes = param_shapes(spec(model, Given(28996, 1, 40, (0, 0))), ())
    counted = sum(math.prod(shape) for path, shape in shapes.items() if re.match("fusion/|text_pooler/", path))
    assert counted == pytest.approx(PUBLISHED[size], rel=0.01)
