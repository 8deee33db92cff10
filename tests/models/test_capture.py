"""Hidden states and attention maps, on request."""

from functools import partial

import jax
import numpy as np
import pytest

from vlfusion_jax.core import names

ROWS, TOKENS, HEADS, WIDTH = 3, 6, 3, 12
GRID = 2 * 3  # 24 x 36 pixels in patches of 12
SIZES = {"text": TOKENS, "image": GRID, "joint": TOKENS + GRID}
OTHER = {"text": "image", "image": "text"}
# Per stage of each kind: streams, layers, attention sub-layers by their place.
STAGES = {
    "single_stream": {"fusion": (("joint",), 2, {"self": 0})},
    "two_stream": {
        "text_layers": (("text",), 1, {"self": 0}),
        "image_layers": (("image",), 1, {"self": 0}),
        "fusion": (("text", "image"), 2, {"cross": 0, "self": 1}),
    },
    "cross_attention": {
        "text_layers": (("text",), 1, {"self": 0}),
        "image_layers": (("image",), 1, {"self": 0}),
        "fusion": (("text",), 2, {"self": 0, "cross": 1}),
    },
}


@pytest.mark.parametrize("scan", [True, False])
@pytest.mark.parametrize("kind", STAGES)
def test_every_layer_is_captured(make_spec, random_model, random_inputs, kind, scan):
    model, params = random_model(make_spec(model__family=kind, model__scan_layers=scan))
    output = jax.jit(partial(model.apply, heads=(names.ITM,), capture=True))({"params": params}, random_inputs(1))
    assert output.hidden.keys() == output.attention.keys() == STAGES[kind].keys()
    assert {stream: x.shape for stream, x in output.embedded.items()} == {
        stream: (ROWS, SIZES[stream], WIDTH) for stream in OTHER
    }
    for stage, (streams, layers, sublayers) in STAGES[kind].items():
        hidden, attention = output.hidden[stage], output.attention[stage]
        for stream in streams:
            assert hidden[stream].shape == (layers, ROWS, SIZES[stream], WIDTH)
        expected = {}
        for stream in streams:
            for sublayer, place in sublayers.items():
                keys = OTHER[stream] if sublayer == "cross" else stream
                expected[f"{stream}_{sublayer}_{place}"] = (layers, ROWS, HEADS, SIZES[stream], SIZES[keys])
        assert {name: weights.shape for name, weights in attention.items()} == expected
        for weights in attention.values():
            assert weights.dtype == np.float32
            assert (np.asarray(weights) >= 0).all()
            np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
    assert output.text.shape == (ROWS, TOKENS, WIDTH)
    assert output.image.shape == (ROWS, GRID, WIDTH)
    assert output.pooled.shape == (ROWS, WIDTH)


def test_nothing_is_captured_otherwise(make_spec, random_model, random_inputs):
    model, params = random_model(make_spec())
    output = jax.eval_shape(partial(model.apply, heads=(names.ITM,)), {"params": params}, random_inputs(1))
    assert output.embedded == output.hidden == output.attention == {}
    assert set(output.logits) == {names.ITM}
