"""The ranking of given texts against the log-probability of each alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.test_generate import END, PAD, VOCAB, make_writer
from vlfusion_jax.core import names
from vlfusion_jax.models.rank import rank

__all__ = ["make_writer"]  # a fixture

BEGIN, COUNT = 7, 12


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    """Of one to four words; some begin with the same one."""
    rng = np.random.default_rng(1)
    return [[BEGIN, *rng.integers(8, 18, rng.integers(1, 5)).tolist(), END] for _ in range(COUNT)]


@pytest.mark.parametrize("settings", [{"variant": "vqa"}, {"scan_layers": False}], ids=str)
def test_by_all_texts_one_by_one(make_writer, texts, settings):
    module, params, read, head = make_writer(**settings)
    mask = np.arange(6) < np.array([[len(text)] for text in texts])
    tokens = np.full(mask.shape, PAD, np.int32)
    tokens[mask] = np.concatenate(texts)

    @partial(jax.jit, static_argnums=(0, 1))
    def found(top: int, shortlist: int):
        encoded = module.apply({"params": params}, read)
        return rank(module, params, encoded, head, jnp.asarray(tokens), jnp.asarray(mask, jnp.int32), top, shortlist)

    each = jax.jit(lambda inputs: module.apply({"params": params}, inputs, (head,)).logits[head])
    rows = len(read[names.TEXT] if names.TEXT in read else read[names.IMAGE])
    first, scores = np.zeros((rows, COUNT)), np.zeros((rows, COUNT))
    for number, text in enumerate(texts):
        # Longer than it is, as all of them, for one compilation: what stands behind does not matter.
        row = np.array([text + [BEGIN] * (6 - len(text))], np.int32)
        target = {names.TARGET: np.repeat(row, rows, 0), names.mask_of(names.TARGET): np.ones((rows, 6), np.int32)}
        logits = np.asarray(each(read | target), np.float64)[..., :VOCAB]
        log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        own = np.stack([log_probs[:, place, token] for place, token in enumerate(text[1:])], axis=1)
        first[:, number], scores[:, number] = own[:, 0], own.sum(1)

    for shortlist in (COUNT, 3):
        numbers, log_probs = found(3, shortlist)
        for i in range(rows):
            bound = np.sort(first[i])[-shortlist]
            listed = np.flatnonzero(first[i] >= bound - 1e-9)[:COUNT]
            listed = sorted(listed, key=lambda n: (-first[i][n], n))[:shortlist]
            best = sorted(listed, key=lambda n: -scores[i][n])[:3]
            assert np.asarray(numbers)[i].tolist() == best
            np.testing.assert_allclose(log_probs[i], scores[i][best], atol=1e-4)
    everything = np.asarray(found(3, COUNT)[0])
    assert (everything != np.asarray(found(3, 3)[0])).any()  # what a short list may miss
    assert np.ptp(scores, axis=0).min() > 1e-2  # rows differ
