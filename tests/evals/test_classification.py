"""Counts against counting one by one."""

import json
from collections import Counter, defaultdict

import numpy as np
import pytest

from vlfusion_jax.evals.classification import class_report, class_scores, confusion_matrix, statement_scores


def test_confusion():
    rng = np.random.default_rng(0)
    labels, predictions = rng.integers(5, size=200), rng.integers(4, size=200)
    found = confusion_matrix(labels, predictions, 6)
    counted = Counter(zip(labels.tolist(), predictions.tolist(), strict=True))
    assert {(i, j): int(n) for (i, j), n in np.ndenumerate(found) if n} == dict(counted)


def test_scores_of_each_class():
    """Against counting pairs, class 4 being neither there nor guessed."""
    rng = np.random.default_rng(3)
    pairs = list(zip(rng.integers(4, size=90).tolist(), rng.integers(4, size=90).tolist(), strict=True))
    found = class_scores(confusion_matrix(*zip(*pairs, strict=True), 5))
    for each in range(4):
        both = sum(label == guess == each for label, guess in pairs)
        guessed, there = sum(guess == each for _, guess in pairs), sum(label == each for label, _ in pairs)
        precision, recall = both / guessed, both / there
        assert found["precision"][each] == precision
        assert found["recall"][each] == recall
        assert found["F1"][each] == pytest.approx(2 * precision * recall / (precision + recall))
        assert found["support"][each] == there
    assert [scores[4] for scores in found.values()] == [0, 0, 0, 0]


def test_report():
    matrix = confusion_matrix([0, 0, 0, 1], [0, 0, 1, 1], 3)
    rows = [line.split() for line in class_report(matrix, ["cat", "dog", "owl"]).splitlines()]
    assert rows[0] == ["class", "precision", "recall", "F1", "support"]
    assert rows[1] == ["cat", "100.0", "%", "66.7", "%", "80.0", "%", "3"]
    assert rows[2] == ["dog", "50.0", "%", "100.0", "%", "66.7", "%", "1"]
    assert rows[3] == ["owl", "0.0", "%", "0.0", "%", "0.0", "%", "0"]


@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [([0, 1], [0], "not one for one"), ([0, 3], [0, 1], "a label is none of"), ([0, 1], [0, -1], "a prediction is")],
)
def test_mistakes(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        confusion_matrix(labels, predictions, 3)


def test_statements(data_folder):
    lines = (data_folder("nlvr_small") / "dev.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines][:200]
    rng = np.random.default_rng(1)
    statements = [row["sentence"] for row in rows for _ in row["images"]]
    right = rng.random(len(statements)) < 0.9
    of_statement = defaultdict(list)
    for statement, each in zip(statements, right, strict=True):
        of_statement[statement].append(each)
    found = statement_scores(statements, right)
    assert found["accuracy"] == right.sum() / len(right)
    assert found["consistency"] == sum(all(each) for each in of_statement.values()) / len(of_statement)
    assert found["consistency"] < found["accuracy"]
    assert statement_scores([], []) == {}
