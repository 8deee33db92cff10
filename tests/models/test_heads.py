"""Tables are padded; what pads them can never be predicted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.models.heads import mask_classes

CLASSES = {names.MLM: 50, names.VQA: 7}


@pytest.fixture(scope="module")
def favouring_padding(make_spec, random_model):
    """A model whose biases ask for the classes that do not exist."""
    model, params = random_model(make_spec())
    mlm, vqa = params["head_mlm"], params["head_vqa"]
    mlm["bias"][CLASSES[names.MLM] :] = 1e6
    vqa["classes"]["bias"][CLASSES[names.VQA] :] = 1e6
    return model, params


def test_padded_classes_never_win_and_learn_nothing(favouring_padding, random_inputs):
    model, params = favouring_padding

    @jax.jit
    def logits_and_grads(params, inputs):
        def loss(params):
            logits = model.apply({"params": params}, inputs, tuple(CLASSES)).logits
            return sum(jax.nn.logsumexp(x, axis=-1).sum() for x in logits.values()), logits

        return jax.grad(loss, has_aux=True)(params)

    grads, logits = logits_and_grads(params, random_inputs(0))
    for head, classes in CLASSES.items():
        assert logits[head].shape[-1] == 128
        assert logits[head].dtype == jnp.float32
        assert np.isfinite(logits[head]).all()
        assert (np.argmax(logits[head], axis=-1) < classes).all()
        assert not np.asarray(jax.nn.softmax(logits[head])[..., classes:]).any()
    assert not np.asarray(grads["head_mlm"]["bias"][CLASSES[names.MLM] :]).any()
    assert not np.asarray(grads["head_vqa"]["classes"]["kernel"][:, CLASSES[names.VQA] :]).any()
    assert not np.asarray(grads["text"]["embedding"]["words"]["table"][CLASSES[names.MLM] :]).any()
    assert np.asarray(grads["text"]["embedding"]["words"]["table"][: CLASSES[names.MLM]]).any(axis=1).all()


def test_word_logits_are_those_of_the_positions_asked_for(favouring_padding, random_inputs):
    model, params = favouring_padding
    inputs = random_inputs(1)

    def logits(positions):
        return model.apply({"params": params}, inputs | {names.MLM_POSITIONS: positions}, (names.MLM,)).logits["mlm"]

    every = logits(np.tile(np.arange(6, dtype=np.int32), (3, 1)))
    some = logits(inputs[names.MLM_POSITIONS])
    expected = np.take_along_axis(np.asarray(every), inputs[names.MLM_POSITIONS][..., None], axis=1)
    np.testing.assert_allclose(some, expected, atol=1e-6)


def test_full_tables_are_left_alone():
    logits = jnp.arange(6.0).reshape(2, 3)
    assert mask_classes(logits, 3) is logits
