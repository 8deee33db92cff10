"""Attention followed through the layers, against loops over single tokens in float64."""

import numpy as np
import pytest

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.spec.streams import IMAGE, TEXT
from vlfusion_jax.serve.rollout import links, rollout

TOKENS, CELLS, HEADS = 5, 7, 3
KEEP = {TEXT: np.arange(TOKENS) < 4, IMAGE: np.arange(CELLS) != 3}
T, C = 4, 6  # valid tokens


def draw(rng, layers, queries, keys):
    """Attention [layers, 1, heads, queries, keys] that leaves out what is not valid; rows that are not are anything."""
    valid = {TOKENS: KEEP[TEXT], CELLS: KEEP[IMAGE], TOKENS + CELLS: np.concatenate([KEEP[TEXT], KEEP[IMAGE]])}[keys]
    weights = rng.random((layers, 1, HEADS, queries, keys)) ** 3 * valid
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def head_mean(weights, layer, rows, columns):
    total = np.zeros((rows.sum(), columns.sum()))
    for head in range(HEADS):
        total += weights[layer, 0, head].astype(np.float64)[rows][:, columns]
    return total / HEADS


def multiply(a, b):
    out = np.zeros((a.shape[0], b.shape[1]))
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            for k in range(a.shape[1]):
                out[i, j] += a[i, k] * b[k, j]
    return out


def bar(r):
    """Chefer et al., eq. 8 and 9."""
    out = np.zeros_like(r)
    for i in range(len(r)):
        rest = [r[i, j] - (i == j) for j in range(len(r))]
        for j in range(len(r)):
            out[i, j] = (rest[j] / sum(rest) if sum(rest) else 0.0) + (i == j)
    return out


def test_one_stream_is_a_product_over_the_layers(make_model):
    spec = make_model("vilt", model__layers=3).module.spec
    weights = draw(np.random.default_rng(0), 3, TOKENS + CELLS, TOKENS + CELLS)
    both = np.concatenate([KEEP[TEXT], KEEP[IMAGE]])
    product = np.eye(T + C)
    for layer in range(3):
        mixed = 0.5 * head_mean(weights, layer, both, both) + 0.5 * np.eye(T + C)
        for row in mixed:
            row /= row.sum()
        product = multiply(mixed, product)
    found = rollout(spec, {"fusion": {"joint_self_0": weights}}, KEEP, TEXT)
    np.testing.assert_allclose(found, product[:T, T:], rtol=1e-12)
    assert (found.sum(1) < 1).all()


class Chefer:
    """The four matrices of two streams and the rules that change them."""

    def __init__(self):
        self.tt, self.ii, self.ti, self.it = np.eye(T), np.eye(C), np.zeros((T, C)), np.zeros((C, T))

    def text_itself(self, a):
        self.tt, self.ti = self.tt + multiply(a, self.tt), self.ti + multiply(a, self.ti)

    def image_itself(self, a):
        self.ii, self.it = self.ii + multiply(a, self.ii), self.it + multiply(a, self.it)

    def text_reads(self, a, ii, it):
        return self.tt + multiply(a, it), self.ti + multiply(bar(self.tt).T, multiply(a, bar(ii)))

    def image_reads(self, a, tt, ti):
        return self.ii + multiply(a, ti), self.it + multiply(bar(self.ii).T, multiply(a, bar(tt)))


@pytest.mark.parametrize(
    ("family", "order"),
    [
        ("two_stream", ("cross", "self")),
        ("lxmert", ("cross", "self")),
        ("vilbert", ("cross", "", "self")),
        ("meter", ("self", "cross entered")),
        ("cross_attention", ("self", "cross text")),
        ("albef", ("self", "cross text")),
    ],
)
def test_two_streams_follow_the_rules_of_chefer(make_model, family, order):
    changes = {} if family == "meter" else {"model__cross_layers": 2}
    if family == "albef":
        changes = {"model__fusion_layers": 2}
    spec = make_model(family, **changes).module.spec
    rng, text, image = np.random.default_rng(1), KEEP[TEXT], KEEP[IMAGE]
    attention = {}
    state = Chefer()
    for stage in (step for step in spec.steps if hasattr(step, "sublayers")):
        own = attention[stage.name] = {}
        if stage.name != "fusion":
            [s] = stage.streams
            n = TOKENS if s == TEXT else CELLS
            own[f"{s}_self_0"] = draw(rng, stage.layers, n, n)
            for layer in range(stage.layers):
                a = head_mean(own[f"{s}_self_0"], layer, KEEP[s], KEEP[s])
                (state.text_itself if s == TEXT else state.image_itself)(a)
            continue
        t, i = stage.streams[0], (*stage.streams, "")[1]
        for place, kind in enumerate(order):
            if kind == "self":
                own[f"{t}_self_{place}"] = draw(rng, 2, TOKENS, TOKENS)
                if i:
                    own[f"{i}_self_{place}"] = draw(rng, 2, CELLS, CELLS)
            elif kind:
                own[f"{t}_cross_{place}"] = draw(rng, 2, TOKENS, CELLS)
                if i:
                    own[f"{i}_cross_{place}"] = draw(rng, 2, CELLS, TOKENS)
        for layer in range(2):
            entered = state.tt, state.ti, state.ii, state.it
            for place, kind in enumerate(order):
                if kind == "self":
                    state.text_itself(head_mean(own[f"{t}_self_{place}"], layer, text, text))
                    if i:
                        state.image_itself(head_mean(own[f"{i}_self_{place}"], layer, image, image))
                elif kind:
                    tt, ti, ii, it = entered if "entered" in kind else (state.tt, state.ti, state.ii, state.it)
                    of_text = state.text_reads(head_mean(own[f"{t}_cross_{place}"], layer, text, image), ii, it)
                    if i:
                        reads = head_mean(own[f"{i}_cross_{place}"], layer, image, text)
                        state.ii, state.it = state.image_reads(reads, tt, ti)
                    state.tt, state.ti = of_text
    found = rollout(spec, attention, KEEP, TEXT)
    assert found.shape == (T, C)
    np.testing.assert_allclose(found, state.ti, rtol=1e-11)


@pytest.mark.parametrize(
    ("family", "changes", "has"),
    [
        ("clip", {}, "text to text, of image to image"),
        ("hierarchical_fusion", {}, "learned to text and image"),
        ("bottleneck_fusion", {}, "text and learned to text and learned"),
        ("gated_fusion", {"model__text_tower": "embeddings", "model__image_tower": "patch"}, "no attention at all"),
    ],
)
def test_a_model_without_attention_between_them_says_what_it_has(make_model, family, changes, has):
    with pytest.raises(UserError, match="does not attend to its image") as raised:
        links(make_model(family, **changes).module.spec, TEXT)
    assert has in str(raised.value)
