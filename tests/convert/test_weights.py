"""Which key fills which parameter where weights are tied: any one of them may be all that a checkpoint stores."""

import itertools

import numpy as np
import pytest

from vlfusion_jax.convert.name_map import LINEAR, TABLE, Entry, NameMap
from vlfusion_jax.convert.weights import import_weights
from vlfusion_jax.core.errors import UserError

WORDS, BIAS = np.arange(6, dtype=np.float32).reshape(3, 2), np.arange(3, dtype=np.float32)
SHAPES = {"words/table": (3, 2), "head_mlm/bias": (3,)}
# `old.bias` repeats `decoder.bias`, which repeats `bias`.
NAMES = NameMap(
    (Entry("words.weight", "words/table", TABLE), Entry("bias", "head_mlm/bias")),
    {"decoder.weight": "words.weight", "old.bias": "decoder.bias", "decoder.bias": "bias"},
    {"^count$": "a count"},
)
TABLES, BIASES = ("words.weight", "decoder.weight"), ("bias", "decoder.bias", "old.bias")


def read_all(tensors, names=NAMES, shapes=SHAPES):
    return import_weights(tensors, tensors.__getitem__, names, shapes, "here")


def some_of(keys):
    return [chosen for n in range(1, len(keys) + 1) for chosen in itertools.combinations(keys, n)]


@pytest.mark.parametrize("tables", some_of(TABLES))
@pytest.mark.parametrize("biases", some_of(BIASES))
def test_any_of_tied_keys_is_enough(tables, biases):
    params, account = read_all({**dict.fromkeys(tables, WORDS), **dict.fromkeys(biases, BIAS)})
    np.testing.assert_array_equal(params["words/table"], WORDS)
    np.testing.assert_array_equal(params["head_mlm/bias"], BIAS)
    assert set(account.used) | set(account.copies) == {*tables, *biases}
    assert len(account.used) == 2
    assert set(account.copies.values()) <= set(account.used)


def test_neither_of_tied_keys():
    with pytest.raises(UserError, match="missing key bias"):
        read_all({"words.weight": WORDS})


@pytest.mark.parametrize("kept", [BIASES, BIASES[1:], BIASES[::2]])
def test_tied_keys_that_differ(kept):
    tensors = {"words.weight": WORDS} | dict.fromkeys(kept, BIAS) | {kept[-1]: BIAS + 1}
    with pytest.raises(UserError, match=f"{kept[-1]} differs from|differs from {kept[-1]}"):
        read_all(tensors)


def test_copies_of_what_the_model_has_not_are_not_expected():
    names = NameMap(NAMES.entries[:1], NAMES.copies, {})
    with pytest.raises(UserError, match=r"unexpected key old\.bias"):
        read_all({"words.weight": WORDS, "old.bias": BIAS}, names, {"words/table": (3, 2)})


def test_every_fault_is_named():
    entries = (*NAMES.entries, Entry("map.weight", "map/kernel", LINEAR))
    tensors = {"words.weight": WORDS[:2], "bias": BIAS, "more": BIAS, "count": BIAS}
    with pytest.raises(UserError) as error:
        read_all(tensors, NameMap(entries, NAMES.copies, NAMES.ignored), SHAPES | {"map/kernel": (2, 3)})
    for fault in ("words.weight has shape [2, 2], expected [3, 2]", "missing key map.weight", "unexpected key more"):
        assert fault in str(error.value)
    assert "count" not in str(error.value)
