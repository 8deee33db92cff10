"""The fusion baselines: their equations in float64 NumPy, padding, gradients, FLOPs, and pairs that are refused."""

from functools import partial

import jax
import numpy as np
import pytest
from scipy.special import erf, softmax

from tests.models.test_flops import counted
from tests.models.test_padding import fill_padding
from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.baselines import LATE, LAYERED, NAMES
from vlfusion_jax.models.families.table import hyperparameters, model_spec
from vlfusion_jax.models.flops import row_flops
from vlfusion_jax.models.inputs import input_shapes
from vlfusion_jax.models.spec.model import ModelSpec

EPSILON, HEADS = 1e-6, (names.MLM, names.ITM, names.VQA)
# Each family on another pair of towers.
OWN = ("embeddings", "transformer", "lstm", "gru")
TOWERS = dict(zip(NAMES, [(text, image) for image in ("transformer", "patch", "conv") for text in OWN], strict=False))


def spec_of(family: str, size: tuple[int, int] = (24, 36), **changes) -> ModelSpec:
    config = default_config()
    config.data.image_size, config.data.question_length = size, 12
    changes = {"width": 12, "heads": 3, "mlp_width": 20, "patch_size": 12, "conv_channels": (4, 6, 8)} | changes
    config.model = hyperparameters(family, "tiny", **changes)
    return model_spec(config, 50, 7)


class Layer:
    """A layer of a stage by its parameters, in double precision."""

    def __init__(self, params: dict, norm: str):
        self.params, self.pre = params, norm == "pre"

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        return normalised(x, self.params[f"{name}_norm"])

    def read(self, name: str, x: np.ndarray) -> np.ndarray:
        return self.norm(name, x) if self.pre else x

    def __call__(self, name: str, x: np.ndarray, keys: np.ndarray | None = None, mask: np.ndarray | None = None):
        """Sub-layer `name` with its residual; `keys` are what attention reads where it is not `x`, normed."""
        read, params = self.read(name, x), self.params[name]
        if name.endswith("mlp"):
            hidden = read @ params["expand"]["kernel"] + params["expand"]["bias"]
            hidden = hidden * (1 + erf(hidden / 2**0.5)) / 2
            branch = hidden @ params["contract"]["kernel"] + params["contract"]["bias"]
        else:
            branch = attended(read, read if keys is None else keys, mask, params)
        return x + branch if self.pre else self.norm(name, x + branch)


def normalised(x: np.ndarray, params: dict) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON) * params["scale"] + params["bias"]


def attended(queries: np.ndarray, keys: np.ndarray, mask: np.ndarray, params: dict) -> np.ndarray:
    q, k, v = (
        np.einsum("btd,dhk->bhtk", x, params[name]["kernel"]) + params[name]["bias"][:, None]
        for name, x in (("query", queries), ("key", keys), ("value", keys))
    )
    scores = np.einsum("bhtk,bhsk->bhts", q, k) / q.shape[-1] ** 0.5
    weights = softmax(np.where(mask[:, None, None] > 0, scores, -np.inf), axis=-1)
    mixed = np.einsum("bhts,bhsk->bhtk", weights, v)
    return np.einsum("bhtk,hkd->btd", mixed, params["output"]["kernel"]) + params["output"]["bias"]


def mean_of(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.stack([row[keep > 0].mean(0) for row, keep in zip(x, mask, strict=True)])


def fused(family: str, norm: str, params: dict, streams: dict, masks: dict) -> np.ndarray:
    """The fused vector, from the embedded streams and two layers of fusion."""
    text, image, t_mask, i_mask = streams["text"], streams["image"], masks["text"], masks["image"]
    both = np.concatenate([t_mask, i_mask], 1)

    def last(name: str, x: np.ndarray) -> np.ndarray:
        return normalised(x, params[f"{name}_final_norm"]["norm_out"]) if norm == "pre" else x

    if family == "hierarchical_fusion":
        state = np.repeat(streams["learned"], len(text), 0)
        for i in range(2):
            layer = Layer(params[f"fusion_{i}"]["layer_0"], norm)
            keys = np.concatenate([layer.read("text_cross", text), layer.read("image_cross", image)], 1)
            state = layer("learned_cross", state, keys, both)
            state = layer("learned_mlp", layer("learned_self", state, None, np.ones(state.shape[:2])))
        return last("learned", state).mean(1)

    layers = [Layer(params["fusion"][f"layer_{i}"], norm) for i in range(2)]
    if family == "early_fusion":
        z = np.concatenate([text, image], 1)
        for layer in layers:
            z = layer("joint_mlp", layer("joint_self", z, None, both))
        return last("joint", z)[:, 0]
    if family == "early_sum_fusion":
        z = text + mean_of(image, i_mask)[:, None]
        for layer in layers:
            z = layer("text_mlp", layer("text_self", z, None, t_mask))
        return last("text", z)[:, 0]
    bottleneck = np.repeat(streams.get("learned", np.zeros((1, 0, 12))), len(text), 0)
    count = bottleneck.shape[1]
    for layer in layers:
        if family == "co_attention":
            text, image = (
                layer("text_cross", text, layer.read("image_cross", image), i_mask),
                layer("image_cross", image, layer.read("text_cross", text), t_mask),
            )
            text, image = layer("text_mlp", text), layer("image_mlp", image)
        else:
            one = np.ones((len(text), count))
            t = layer("text_self", np.concatenate([text, bottleneck], 1), None, np.concatenate([t_mask, one], 1))
            i = layer("image_self", np.concatenate([image, bottleneck], 1), None, np.concatenate([i_mask, one], 1))
            t, i = layer("text_mlp", t), layer("image_mlp", i)
            text, image, bottleneck = t[:, :-count], i[:, :-count], (t[:, -count:] + i[:, -count:]) / 2
    return np.concatenate([last("text", text)[:, 0], mean_of(last("image", image), i_mask)], -1)


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("family", LAYERED)
def test_layers_follow_their_equations(random_model, random_inputs, family, norm):
    changes = {"text_tower": "embeddings", "image_tower": "patch", "fusion_layers": 2, "scan_layers": False}
    model, params = random_model(spec_of(family, norm=norm, **changes))
    output = jax.jit(partial(model.apply, capture=True))({"params": params}, random_inputs(3))
    doubles = jax.tree.map(np.float64, params)
    streams = {name: np.float64(x) for name, x in output.embedded.items()}
    masks = {"text": np.asarray(output.text_mask), "image": np.asarray(output.image_mask)}
    np.testing.assert_allclose(output.pooled, fused(family, norm, doubles, streams, masks), atol=5e-6)


@pytest.mark.parametrize("family", NAMES)
def test_padding_changes_nothing_and_gradients_are_finite(random_model, random_inputs, family):
    text_tower, image_tower = TOWERS[family]
    bidirectional = family != LATE
    model, params = random_model(
        spec_of(family, text_tower=text_tower, image_tower=image_tower, bidirectional=bidirectional)
    )
    inputs = random_inputs(4)
    longer = inputs | {name: np.pad(inputs[name], ((0, 0), (0, 5))) for name in (names.TEXT, names.TEXT_MASK)}

    @jax.jit
    def run(params, inputs):
        def loss(params):
            output = model.apply({"params": params}, inputs, HEADS)
            return sum((x[..., :7] ** 2).sum() for x in output.logits.values()), output

        return jax.grad(loss, has_aux=True)(params)

    (grads, output), (_, padded) = run(params, inputs), run(params, fill_padding(longer, 5))
    for ours, theirs in zip(jax.tree.leaves(padded.logits), jax.tree.leaves(output.logits), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(padded.pooled), jax.tree.leaves(output.pooled), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    keep = np.asarray(output.text_mask) > 0
    np.testing.assert_allclose(padded.text[:, : keep.shape[1]][keep], output.text[keep], atol=1e-6)
    keep = np.asarray(output.image_mask) > 0
    np.testing.assert_allclose(padded.image[keep], output.image[keep], atol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert np.asarray(grads["text"]["embedding"]["words"]["table"]).any()
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(grads["image"]["norm"]))


def flops_agree(spec: ModelSpec, head: str, texts: int = 1) -> None:
    shapes = input_shapes(spec.inputs, 3 * texts, 6)
    for name in (names.IMAGE, names.IMAGE_MASK):
        shapes[name] = jax.ShapeDtypeStruct((3, *shapes[name].shape[1:]), shapes[name].dtype)
    expected = counted(spec, shapes, (head,))
    assert round(3 * texts * row_flops(spec, 6, head, 1, texts)) == expected


@pytest.mark.parametrize("family", NAMES)
def test_flops_equal_the_count(family):
    text_tower, image_tower = TOWERS[family]
    spec = spec_of(family, text_tower=text_tower, image_tower=image_tower)
    for head in HEADS:
        flops_agree(spec, head)
    flops_agree(spec, names.VQA, texts=4)


@pytest.mark.parametrize("tower", ["resnet50", "vgg16"])
def test_flops_of_convolutional_towers(tower):
    flops_agree(spec_of("gated_fusion", (72, 60), image_tower=tower, text_tower="lstm"), names.VQA)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("late_fusion", {"image_tower": "vgg16"}, r"data.image_size \(24, 36\) is smaller than one cell"),
        ("gated_fusion", {"text_tower": "gru", "width": 9}, "model.width 9 does not divide by 2"),
        ("hierarchical_fusion", {"text_layers": 3}, "model.text_layers is 3, but hierarchical_fusion .* 'transformer'"),
        ("hierarchical_fusion", {"image_layers": 2}, "model.image_layers is 2, but hierarchical_fusion .*transformer'"),
        ("co_attention", {"fusion_layers": 0}, "model.fusion_layers is 0; co_attention needs at least 1"),
        ("late_fusion", {"text_share": 1.5}, "model.text_share is 1.5; it must be at most 1"),
        ("late_fusion", {"image_tower": "resnet5"}, "model.image_tower is 'resnet5'.*Did you mean 'resnet50'"),
        ("late_fusion", {"text_tower": "rnn"}, "model.text_tower is 'rnn'; it must be one of embeddings, "),
    ],
)
def test_pairs_that_do_not_go_together_are_refused(family, changes, message):
    with pytest.raises(UserError, match=message):
        spec_of(family, **changes)
