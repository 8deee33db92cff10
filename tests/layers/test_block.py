"""Whole layers against PyTorch's: one stream, two streams that read each other, one stream that reads another."""

import jax
import numpy as np
import pytest
import torch

from vlfusion_jax.layers.block import BlockSpec, FusionLayer, Stage

WIDTH, HEADS, HIDDEN, EPSILON = 12, 3, 20, 1e-5
TEXT, IMAGE = 5, 7


def block(norm: str) -> BlockSpec:
    return BlockSpec(HEADS, HIDDEN, norm, EPSILON, "gelu", dropout=0.0, attention_dropout=0.0)


def layer_of(spec, streams, sublayers, context=(), train=False, capture=False) -> FusionLayer:
    return FusionLayer(Stage("stage", streams, (spec,), sublayers, 1, context), train, capture)


def stream(seed: int, rows: int, tokens: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = (rng.random((rows, tokens)) > 0.4).astype(np.int32)
    mask[:, 0] = 1
    return rng.normal(size=(rows, tokens, WIDTH)).astype(np.float32), mask


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_one_stream_equals_torch_encoder_layer(random_params, to_attention, to_linear, to_norm, norm):
    x, mask = stream(0, 3, TEXT)
    grad = np.random.default_rng(9).normal(size=x.shape).astype(np.float32)
    layer = layer_of(block(norm), ("joint",), ("self", "mlp"))
    params = random_params(layer, {"joint": x}, {"joint": mask})
    ours, pullback = jax.vjp(lambda x: layer.apply({"params": params}, {"joint": x}, {"joint": mask})[0]["joint"], x)

    theirs = torch.nn.TransformerEncoderLayer(
        WIDTH, HEADS, HIDDEN, dropout=0.0, activation="gelu", layer_norm_eps=EPSILON, batch_first=True,
        norm_first=norm == "pre",
    )  # fmt: skip
    theirs.self_attn = to_attention(params["joint_self"])
    theirs.linear1, theirs.linear2 = (to_linear(params["joint_mlp"][name]) for name in ("expand", "contract"))
    theirs.norm1, theirs.norm2 = (to_norm(params[f"joint_{kind}_norm"], EPSILON) for kind in ("self", "mlp"))
    tensor = torch.tensor(x, requires_grad=True)
    expected = theirs(tensor, src_key_padding_mask=torch.tensor(mask) == 0)
    expected.backward(torch.tensor(grad))
    np.testing.assert_allclose(ours, expected.detach(), atol=5e-6)
    np.testing.assert_allclose(pullback(grad)[0], tensor.grad, atol=2e-5)


class Reference:
    """Sub-layers of torch modules; in a sub-layer every stream reads what the others were before it."""

    def __init__(self, norm, streams, context, sublayers, params, to_attention, to_linear, to_norm):
        self.pre, self.streams, self.context, self.sublayers = norm == "pre", streams, context, sublayers
        self.params, self.to_attention, self.to_linear, self.to_norm = params, to_attention, to_linear, to_norm

    def norm(self, stream: str, kind: str, x: torch.Tensor) -> torch.Tensor:
        return self.to_norm(self.params[f"{stream}_{kind}_norm"], EPSILON)(x)

    def branch(self, stream: str, kind: str, own: torch.Tensor, other: torch.Tensor, hidden: torch.Tensor):
        if kind == "mlp":
            expand, contract = (self.to_linear(self.params[f"{stream}_mlp"][n]) for n in ("expand", "contract"))
            return contract(torch.nn.functional.gelu(expand(own)))
        attention = self.to_attention(self.params[f"{stream}_{kind}"])
        return attention(own, other, other, key_padding_mask=hidden)[0]

    def __call__(self, x: dict[str, torch.Tensor], masks: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        for kind in self.sublayers:
            new = dict(x)
            for name in self.streams:
                other = ({"text": "image", "image": "text"}[name]) if kind == "cross" else name
                if self.pre:
                    own, read = self.norm(name, kind, x[name]), self.norm(other, kind, x[other])
                    new[name] = x[name] + self.branch(name, kind, own, read, masks[other] == 0)
                else:
                    summed = x[name] + self.branch(name, kind, x[name], x[other], masks[other] == 0)
                    new[name] = self.norm(name, kind, summed)
            x = new
        return x


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize(
    ("streams", "context", "sublayers"),
    [
        (("text", "image"), (), ("cross", "self", "mlp")),
        (("text", "image"), (), ("self", "cross", "mlp")),
        (("text",), ("image",), ("self", "cross", "mlp")),
    ],
)
def test_cross_layers_equal_torch(random_params, to_attention, to_linear, to_norm, norm, streams, context, sublayers):
    (text, text_mask), (image, image_mask) = stream(1, 4, TEXT), stream(2, 4, IMAGE)
    x, masks = {"text": text, "image": image}, {"text": text_mask, "image": image_mask}
    layer = layer_of(block(norm), streams, sublayers, context, capture=True)
    params = random_params(layer, x, masks)
    ours, captured = layer.apply({"params": params}, x, masks)
    reference = Reference(norm, streams, context, sublayers, params, to_attention, to_linear, to_norm)
    expected = reference(
        {name: torch.tensor(v) for name, v in x.items()}, {name: torch.tensor(v) for name, v in masks.items()}
    )
    for name in ("text", "image"):
        np.testing.assert_allclose(ours[name], expected[name].detach(), atol=1e-5)
        np.testing.assert_array_equal(captured["hidden"][name], ours[name])
    if context:
        np.testing.assert_array_equal(ours[context[0]], image)
    attentive = [kind for kind in sublayers if kind != "mlp"]
    names = {f"{s}_{kind}_{sublayers.index(kind)}" for s in streams for kind in attentive}
    assert set(captured["attention"]) == names
    for weights in captured["attention"].values():
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)


def test_dropout_is_applied_in_training_only(random_params):
    x, mask = stream(3, 2, TEXT)
    spec = BlockSpec(HEADS, HIDDEN, "pre", EPSILON, "gelu", dropout=0.5, attention_dropout=0.5)
    inputs = {"joint": x}, {"joint": mask}
    still = layer_of(spec, ("joint",), ("self", "mlp"))
    moving = layer_of(spec, ("joint",), ("self", "mlp"), train=True)
    params = {"params": random_params(still, *inputs)}
    plain = layer_of(block("pre"), ("joint",), ("self", "mlp"))
    np.testing.assert_array_equal(still.apply(params, *inputs)[0]["joint"], plain.apply(params, *inputs)[0]["joint"])
    one, again, other = (
        moving.apply(params, *inputs, rngs={"dropout": jax.random.key(seed)})[0]["joint"] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.01
