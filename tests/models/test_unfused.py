"""Streams that no step mixes are made once: pairs chosen of them are those of the whole model."""

import jax
import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.models.steps import streams_alone

PAIRS = np.array([[2, 0], [0, 0], [1, 2], [2, 2], [0, 1]])  # text, image


def spec_of(family: str):
    more = {"variant": "retrieval"} if family == "blip" else {}
    return FAMILIES[family].spec(hyperparameters(family, "tiny", patch_size=12, **more), Given(50, 7, 12, (24, 36)))


@pytest.mark.parametrize("family", ["albef", "meter", "blip", "clip", "late_fusion"])
def test_pairs_of_unfused_streams_are_pairs_of_inputs(family, random_inputs, random_model):
    spec = spec_of(family)
    model, params = random_model(spec, (names.ITM,))
    inputs = random_inputs(3)
    texts, images = PAIRS.T
    rows = {names.TEXT: texts, names.IMAGE: images}
    inputs_of_pairs = {
        name: x[rows[names.TEXT if name.startswith(names.TEXT) else names.IMAGE]] for name, x in inputs.items()
    }
    expected = model.apply({"params": params}, inputs_of_pairs, (names.ITM,))

    unfused = model.apply({"params": params}, inputs).unfused
    given = {stream: jax.tree.map(lambda x, s=stream: x[rows[s]], pair) for stream, pair in unfused.items()}
    left = {name: x for name, x in inputs_of_pairs.items() if not any(name.startswith(stream) for stream in given)}
    output = model.apply({"params": params}, left, (names.ITM,), given=given)

    assert set(given) == set(streams_alone(spec))
    assert given
    assert np.ptp(expected.logits[names.ITM]) > 1e-3
    np.testing.assert_allclose(output.logits[names.ITM], expected.logits[names.ITM], atol=1e-5)


@pytest.mark.parametrize("family", ["vilt", "single_stream", "cross_attention", "early_fusion"])
def test_nothing_is_alone_where_both_are_mixed(family):
    assert family in FAMILIES
    assert streams_alone(spec_of(family)) == ()
