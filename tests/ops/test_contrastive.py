"""Contrasts of a batch against NumPy in float64 and the losses of `transformers`: values, gradients, draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from vlfusion_jax.ops.contrastive import (
    contrastive_cross_entropy,
    hard_negatives,
    other_pairs,
    pairwise_sigmoid,
    same_pairs,
    shares,
)

N, M, TOKENS = 6, 9, 4


@pytest.fixture(scope="module")
def batch():
    """Records, tokens and captions of six pairs: 0 and 3 share a record, 1 and 4 a text, 5 has no caption."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(3, 50, (N, TOKENS)).astype(np.int32)
    tokens[4] = tokens[1]
    tokens[5] = tokens[2]
    return np.array([7, 1, 9, 7, 2, 7], np.int32), tokens, np.array([1, 1, 1, 1, 1, 0], np.float32)


@pytest.fixture(scope="module")
def case():
    """Logits [n, m], soft targets over the columns kept, and these: two of nine are not."""
    rng = np.random.default_rng(1)
    logits, keep = (5 * rng.normal(size=(N, M))).astype(np.float32), np.ones(M)
    keep[[2, 7]] = 0
    targets = rng.random((N, M)) * keep
    return logits, targets / targets.sum(1, keepdims=True), keep


def log_softmax(logits, keep):
    """Over the columns kept, 0 elsewhere."""
    x = logits.astype(np.float64)
    return np.where(keep > 0, x - np.log((np.exp(x) * keep).sum(1, keepdims=True)), 0)


def value_and_gradient(function, logits, weights):
    """Values [n] of ours, and the gradient of their weighted sum."""
    gradient = jax.grad(lambda x: (function(x) * weights).sum())(logits)
    return np.asarray(function(logits)), np.asarray(gradient)


def test_same_record_or_same_text(batch):
    records, tokens, valid = batch
    expected = np.zeros((N, N), bool)
    for i in range(N):
        for j in range(N):
            alike = records[i] == records[j] or list(tokens[i]) == list(tokens[j])
            expected[i, j] = alike and valid[i] > 0 and valid[j] > 0
    assert expected.sum() == 5 + 4
    same = same_pairs(*batch)
    np.testing.assert_array_equal(same, expected)
    others = np.asarray(other_pairs(same, valid))
    np.testing.assert_array_equal(others, ~expected & np.outer(valid, valid).astype(bool))
    assert not (others & np.eye(N, dtype=bool)).any()


def test_shares_are_even(batch):
    same = np.asarray(same_pairs(*batch))
    found = shares(same)
    assert found.dtype == jnp.float32
    for i in range(N):
        expected = same[i] / same[i].sum() if same[i].any() else np.zeros(N)
        np.testing.assert_allclose(found[i], expected, rtol=1e-7)
    assert not np.asarray(found)[5].any()


def test_cross_entropy(case):
    logits, targets, keep = case
    weights = np.random.default_rng(2).normal(size=N)
    value, gradient = value_and_gradient(lambda x: contrastive_cross_entropy(x, targets, keep), logits, weights)
    log_probs = log_softmax(logits, keep)
    np.testing.assert_allclose(value, -(targets * log_probs).sum(1), rtol=1e-6)
    expected = (np.where(keep > 0, np.exp(log_probs), 0) - targets) * weights[:, None]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)
    assert not gradient[:, keep == 0].any()


def test_sigmoid(case):
    logits, _, keep = case
    rng = np.random.default_rng(3)
    same, weights = rng.random((N, M)) < 0.3, rng.normal(size=N)
    value, gradient = value_and_gradient(lambda x: pairwise_sigmoid(x, same, keep), logits, weights)
    signed = np.where(same, 1, -1) * logits.astype(np.float64)
    np.testing.assert_allclose(value, (np.log1p(np.exp(-signed)) * keep).sum(1), rtol=1e-6)
    expected = -np.where(same, 1, -1) / (1 + np.exp(signed)) * keep * weights[:, None]
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("value", [1e4, -1e4])
def test_what_is_left_out_is_never_read(case, value):
    logits, targets, keep = case
    other = np.where(keep > 0, logits, value).astype(np.float32)
    for function in (
        lambda x: contrastive_cross_entropy(x, targets, keep),
        lambda x: pairwise_sigmoid(x, targets > 0.2, keep),
    ):
        for one, two in zip(*(value_and_gradient(function, x, np.ones(N)) for x in (logits, other)), strict=True):
            np.testing.assert_array_equal(one, two)


def their_logits(model, n):
    """(loss, logits [texts, images], their gradient) of a model of `transformers` on random texts and images."""
    rng, config = np.random.default_rng(4), model.config
    side, vocab = config.vision_config.image_size, config.text_config.vocab_size
    output = model(
        input_ids=torch.tensor(rng.integers(1, vocab - 1, (n, 7))),
        pixel_values=torch.tensor(rng.normal(size=(n, 3, side, side)), dtype=torch.float32),
        return_loss=True,
    )
    output.logits_per_text.retain_grad()
    output.loss.backward()
    return output.loss.item(), output.logits_per_text.detach().numpy(), output.logits_per_text.grad.numpy()


TOWER = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 24}
TEXT = TOWER | {"vocab_size": 90, "max_position_embeddings": 8, "bos_token_id": 88, "eos_token_id": 89}
VISION = TOWER | {"image_size": 8, "patch_size": 4}


@pytest.mark.parametrize("n", [1, 2, 7])
def test_clip_loss_of_transformers(n):
    torch.manual_seed(n)
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12)
    expected, logits, gradient = their_logits(transformers.CLIPModel(config), n)

    def loss(x):
        own, keep = jnp.eye(n), jnp.ones(n)
        return sum(contrastive_cross_entropy(way, shares(own), keep).mean() for way in (x, x.T)) / 2

    value, ours = jax.value_and_grad(loss)(logits)
    np.testing.assert_allclose(value, expected, atol=1e-6)
    np.testing.assert_allclose(ours, gradient, atol=1e-6)
    assert (np.abs(gradient).max() > 0.01) == (n > 1)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_siglip_loss_of_transformers(n):
    torch.manual_seed(n)
    text = TEXT | {"projection_size": 16}
    model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=VISION))
    with torch.no_grad():
        model.logit_scale.fill_(1.5)
        model.logit_bias.fill_(-0.7)
    expected, logits, gradient = their_logits(model, n)
    value, ours = jax.value_and_grad(lambda x: pairwise_sigmoid(x, jnp.eye(n), jnp.ones(n)).mean())(logits)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(ours, gradient, atol=1e-6)
    assert np.abs(gradient).max() > 0.01


@pytest.mark.parametrize(
    ("records", "valid"),
    [([3], [1]), ([3], [0]), ([3, 4], [1, 1]), ([3, 4], [1, 0]), ([3, 3], [1, 1]), ([5, 5, 5], [1, 1, 0])],
)
def test_tiny_batches_are_finite(records, valid):
    n, rng = len(records), np.random.default_rng(5)
    tokens = rng.integers(9, size=(n, TOKENS))
    records, valid = np.array(records), np.array(valid, np.float32)
    logits = rng.normal(size=(n, n)).astype(np.float32)
    same = same_pairs(records, tokens, valid)
    value, gradient = value_and_gradient(lambda x: contrastive_cross_entropy(x, shares(same), valid), logits, valid)
    assert np.isfinite(value).all()
    assert np.isfinite(gradient).all()
    if valid.sum() < 2:  # nothing to be told apart from
        assert not value.any()
        assert not gradient.any()
    sigmoid, of_sigmoid = value_and_gradient(lambda x: pairwise_sigmoid(x, same, valid), logits, valid)
    np.testing.assert_array_equal(of_sigmoid != 0, np.outer(valid, valid) > 0)
    assert ((sigmoid > 0) == (valid.sum() > 0)).all()
    drawn = np.asarray(hard_negatives(logits, other_pairs(same, valid), jax.random.key(0)))
    others = (records[:, None] != records) & (np.outer(valid, valid) > 0)
    np.testing.assert_array_equal(drawn[~others.any(1)], np.arange(n)[~others.any(1)])
    assert others[np.arange(n), drawn][others.any(1)].all()


def test_hard_negatives_follow_the_softmax_of_what_may_be_drawn(batch):
    draws = 8000
    logits = (1.5 * np.random.default_rng(6).normal(size=(N, N))).astype(np.float32)
    logits += 20 * np.eye(N, dtype=np.float32)  # what belongs together is most alike
    others = np.asarray(other_pairs(same_pairs(*batch), batch[2]))
    keys = jax.random.split(jax.random.key(1), draws)
    drawn = np.asarray(jax.jit(jax.vmap(lambda key: hard_negatives(logits, others, key)))(keys))
    assert (drawn[:, 5] == 5).all(), "a row without a caption has none to draw"
    for row in range(5):
        exp = np.where(others[row], np.exp(logits[row].astype(np.float64)), 0)
        expected = exp / exp.sum()
        found = np.bincount(drawn[:, row], minlength=N) / draws
        assert not found[~others[row]].any()
        assert (np.abs(found - expected) < 4.5 * np.sqrt(expected * (1 - expected) / draws) + 1e-12).all()


def test_no_gradient_passes_through_the_draw():
    others = ~np.eye(3, dtype=bool)
    logits = np.random.default_rng(7).normal(size=(3, 3)).astype(np.float32)

    def drawn_values(x):
        return x[jnp.arange(3), hard_negatives(x, others, jax.random.key(2))].sum()

    gradient = np.asarray(jax.grad(drawn_values)(logits))
    assert sorted(gradient.ravel()) == [0] * 6 + [1] * 3
