"""Answers that are written against BLIP's loss of each in `transformers`, and against NumPy in float64."""

import jax
import numpy as np
import pytest
import torch
import transformers
from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel

from vlfusion_jax.core import names
from vlfusion_jax.tasks.answer import AnswerWriting

TOKENS = names.key(names.ANSWERED, names.TARGET)
WEIGHTS = names.key(names.ANSWERED, names.WORD_WEIGHTS)

ROWS, LENGTH, VOCAB = 4, 7, 37
LENGTHS = np.array([7, 3, 5, 4])  # with both ends
ASKED = np.array([1, 1, 1, 0])


@pytest.fixture(scope="module")
def batch():
    """Answers of several lengths; the last question has none."""
    mask = np.arange(LENGTH) < LENGTHS[:, None]
    weights = np.zeros((ROWS, LENGTH), np.float32)
    weights[:, :-1] = mask[:, 1:] * ASKED[:, None]
    tokens = np.random.default_rng(0).integers(3, VOCAB, (ROWS, LENGTH))
    return {TOKENS: np.where(mask, tokens, 0).astype(np.int32), WEIGHTS: weights}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_blip_s_sum_of_each_answer(batch, output_of, smoothing):
    torch.manual_seed(1)
    config = transformers.BlipTextConfig(
        vocab_size=VOCAB, hidden_size=16, encoder_hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=LENGTH, label_smoothing=smoothing, initializer_range=0.5,
    )  # fmt: skip
    ids, mask = torch.tensor(batch[TOKENS]).long(), torch.arange(LENGTH) < torch.tensor(LENGTHS)[:, None]
    theirs = BlipTextLMHeadModel(config).eval()(
        input_ids=ids, attention_mask=mask.long(), encoder_hidden_states=torch.randn(ROWS, 3, 16),
        labels=torch.where(mask, ids, -100), reduction="none",
    )  # fmt: skip
    theirs.logits.retain_grad()
    expected = (theirs.loss * torch.tensor(ASKED)).sum() / ASKED.sum()
    expected.backward()
    task = AnswerWriting(VOCAB, smoothing)
    value, grad = jax.value_and_grad(lambda x: task.loss(output_of(answer=x), batch) / task.weight(batch))(
        theirs.logits.detach().numpy()
    )
    np.testing.assert_allclose(value, expected.item(), rtol=2e-6)
    np.testing.assert_allclose(grad, theirs.logits.grad, atol=1e-7)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_loss_and_accuracy(batch, output_of, log_softmax, smoothing):
    logits = (2 * np.random.default_rng(2).normal(size=(ROWS, LENGTH, VOCAB))).astype(np.float32)
    np.put_along_axis(logits[0, 2:5], batch[TOKENS][0, 3:6, None], 20.0, axis=-1)
    task, log_probs, expected, right = AnswerWriting(VOCAB, smoothing), log_softmax(logits), 0.0, 0
    for row in np.flatnonzero(ASKED):
        for place in range(LENGTHS[row] - 1):
            target = np.full(VOCAB, smoothing / VOCAB)
            target[batch[TOKENS][row, place + 1]] += 1 - smoothing
            expected -= (target * log_probs[row, place]).sum()
            right += logits[row, place].argmax() == batch[TOKENS][row, place + 1]
    np.testing.assert_allclose(task.loss(output_of(answer=logits), batch), expected, rtol=1e-6)
    assert float(task.weight(batch)) == ASKED.sum()
    total, weight = task.metrics(output_of(answer=logits), batch)["answer_token_accuracy"]
    assert 3 <= float(total) == right < float(weight) == (LENGTHS[:3] - 1).sum()


def test_nothing_to_write(batch, output_of, check_nothing_counts):
    logits = np.random.default_rng(3).normal(size=(ROWS, LENGTH, VOCAB)).astype(np.float32)
    check_nothing_counts(AnswerWriting(VOCAB), output_of(answer=logits), batch | {WEIGHTS: 0 * batch[WEIGHTS]})
