"""Captioning against BLIP's loss in `transformers` on the same logits, and against NumPy in float64."""

import jax
import numpy as np
import pytest
import torch
import transformers
from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel

from vlfusion_jax.core import names
from vlfusion_jax.models.heads import mask_classes
from vlfusion_jax.tasks.caption import Captioning

TOKENS = names.key(names.WRITTEN, names.TARGET)
WEIGHTS = names.key(names.WRITTEN, names.WORD_WEIGHTS)

ROWS, LENGTH, VOCAB, PADDED, PROMPT = 4, 9, 37, 48, 2
LENGTHS = (9, 6, 4, 7)  # with both ends


@pytest.fixture(scope="module")
def batch():
    """Captions behind a prompt of two tokens; the last is of an image without a caption."""
    rng = np.random.default_rng(0)
    place = np.arange(LENGTH)
    mask = place < np.array(LENGTHS)[:, None]
    weights = np.zeros((ROWS, LENGTH), np.float32)
    weights[:, :-1] = mask[:, 1:] & (place[:-1] >= PROMPT)
    weights[3] = 0
    return {TOKENS: np.where(mask, rng.integers(3, VOCAB, (ROWS, LENGTH)), 0).astype(np.int32), WEIGHTS: weights}


def padded(logits):
    return np.array(mask_classes(np.pad(logits, ((0, 0), (0, 0), (0, PADDED - VOCAB)), constant_values=3.0), VOCAB))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_blip_of_transformers(batch, output_of, smoothing):
    torch.manual_seed(1)
    config = transformers.BlipTextConfig(
        vocab_size=VOCAB, hidden_size=16, encoder_hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=LENGTH, label_smoothing=smoothing, initializer_range=0.5,
    )  # fmt: skip
    model = BlipTextLMHeadModel(config).eval()
    ids = torch.tensor(batch[TOKENS]).long()
    mask = torch.arange(LENGTH) < torch.tensor(LENGTHS)[:, None]
    labels = torch.where(mask, ids, -100)
    labels[:, : PROMPT + 1] = -100  # the token that begins a text, and the prompt
    labels[3] = -100
    theirs = model(
        input_ids=ids, attention_mask=mask.long(), encoder_hidden_states=torch.randn(ROWS, 3, 16), labels=labels
    )
    theirs.logits.retain_grad()
    theirs.loss.backward()
    task, logits = Captioning(VOCAB, smoothing), padded(theirs.logits.detach().numpy())
    value, grad = jax.value_and_grad(lambda x: task.loss(output_of(caption=x), batch) / task.weight(batch))(logits)
    np.testing.assert_allclose(value, theirs.loss.item(), rtol=2e-6)
    np.testing.assert_allclose(np.asarray(grad)[..., :VOCAB], theirs.logits.grad, atol=1e-7)
    assert not np.asarray(grad)[..., VOCAB:].any()


@pytest.fixture(scope="module")
def logits():
    return padded((2 * np.random.default_rng(2).normal(size=(ROWS, LENGTH, VOCAB))).astype(np.float32))


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_and_accuracy(batch, logits, output_of, log_softmax, smoothing):
    task, log_probs = Captioning(VOCAB, smoothing), log_softmax(logits[..., :VOCAB])
    expected = right = 0.0
    for row in range(3):
        for place in range(PROMPT, LENGTHS[row] - 1):
            target = np.full(VOCAB, smoothing / VOCAB)
            target[batch[TOKENS][row, place + 1]] += 1 - smoothing
            expected -= (target * log_probs[row, place]).sum()
    better = logits.copy()
    np.put_along_axis(better[0, 3:6], batch[TOKENS][0, 4:7, None], 20.0, axis=-1)
    np.testing.assert_allclose(task.loss(output_of(caption=logits), batch), expected, rtol=1e-6)
    for row in range(3):
        for place in range(PROMPT, LENGTHS[row] - 1):
            right += better[row, place].argmax() == batch[TOKENS][row, place + 1]
    total, weight = task.metrics(output_of(caption=better), batch)["caption_accuracy"]
    assert float(weight) == float(task.weight(batch)) == sum(length - 1 - PROMPT for length in LENGTHS[:3]) == 10
    assert 3 <= float(total) == right < 10


def test_only_what_is_predicted_counts(batch, logits, output_of):
    other = np.where(batch[WEIGHTS][..., None] > 0, logits, -logits)
    one, two = (Captioning(VOCAB, 0.1).loss(output_of(caption=x), batch) for x in (logits, other))
    assert float(one) == float(two)


def test_nothing_to_write(batch, logits, output_of, check_nothing_counts):
    check_nothing_counts(Captioning(VOCAB), output_of(caption=logits), batch | {WEIGHTS: 0 * batch[WEIGHTS]})
