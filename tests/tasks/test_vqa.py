"""Visual question answering, with hard labels and soft scores, against float64 NumPy."""

import numpy as np
import pytest

from vlfusion_jax.models.heads import mask_classes
from vlfusion_jax.tasks.vqa import IDS, KINDS, SCORES, WEIGHT, VisualQuestionAnswering

ROWS, ANSWERS, PADDED, LISTED = 12, 9, 16, 3


@pytest.fixture(scope="module")
def case():
    """Logits, and a batch: soft scores, among them hard labels and questions of no known answer."""
    rng = np.random.default_rng(2)
    logits = np.array(mask_classes((3 * rng.normal(size=(ROWS, PADDED))).astype(np.float32), ANSWERS))
    ids = np.stack([rng.permutation(ANSWERS)[:LISTED] for _ in range(ROWS)]).astype(np.int32)
    scores = rng.integers(1, 10, (ROWS, LISTED)).astype(np.float32) / 10
    scores[:4] = [1, 0, 0]
    scores[4] = 0
    ids[:8:2, 0] = logits[:8:2].argmax(-1)
    weight = np.ones(ROWS, np.float32)
    weight[[1, 6]] = 0
    kinds = rng.integers(-1, 2, ROWS).astype(np.int32)
    return logits, {IDS: ids, SCORES: scores, WEIGHT: weight, KINDS: kinds}


def targets(batch):
    dense = np.zeros((ROWS, ANSWERS))
    for row in range(ROWS):
        for answer, score in zip(batch[IDS][row], batch[SCORES][row], strict=True):
            dense[row, answer] += score
    return dense


def test_binary_loss(case, output_of):
    logits, batch = case
    x, t = logits[:, :ANSWERS].astype(np.float64), targets(batch)
    losses = -(t * -np.log1p(np.exp(-x)) + (1 - t) * -np.log1p(np.exp(x))).sum(1)
    task = VisualQuestionAnswering(ANSWERS, criterion="bce")
    np.testing.assert_allclose(task.loss(output_of(vqa=logits), batch), (losses * batch[WEIGHT]).sum(), rtol=1e-6)


def test_softmax_loss(case, output_of, log_softmax):
    logits, batch = case
    t = targets(batch)
    t /= np.where(t.sum(1, keepdims=True) > 0, t.sum(1, keepdims=True), 1)
    losses = -(t * log_softmax(logits[:, :ANSWERS])).sum(1)
    task = VisualQuestionAnswering(ANSWERS, criterion="ce")
    np.testing.assert_allclose(task.loss(output_of(vqa=logits), batch), (losses * batch[WEIGHT]).sum(), rtol=1e-6)


def test_accuracy_is_the_score_of_the_best_answer(case, output_of):
    logits, batch = case
    task = VisualQuestionAnswering(ANSWERS, ("relational", "other"))
    metrics = task.metrics(output_of(vqa=logits), batch)
    scores = targets(batch)[np.arange(ROWS), logits[:, :ANSWERS].argmax(1)] * batch[WEIGHT]
    expected = {"accuracy": (scores.sum(), batch[WEIGHT].sum())}
    for number, kind in enumerate(task.kinds):
        of_kind = batch[KINDS] == number
        expected[f"accuracy_{kind}"] = (scores[of_kind].sum(), batch[WEIGHT][of_kind].sum())
    assert metrics.keys() == expected.keys()
    for name, (total, weight) in metrics.items():
        np.testing.assert_allclose((total, weight), expected[name], rtol=1e-6)
    assert 0 < scores.sum() < batch[WEIGHT].sum()
    assert float(task.weight(batch)) == batch[WEIGHT].sum()


@pytest.mark.parametrize("criterion", ["bce", "ce"])
def test_no_question(case, output_of, check_nothing_counts, criterion):
    logits, batch = case
    task = VisualQuestionAnswering(ANSWERS, ("relational", "other"), criterion)
    check_nothing_counts(task, output_of(vqa=logits), batch | {WEIGHT: np.zeros(ROWS, np.float32)})
