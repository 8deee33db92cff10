"""Judgements follow the order of the evaluation; a label unknown to training is wrong for sure."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.data.records import Question
from vlfusion_jax.evals.judgements import judge

CLASSES = ("entailment", "neutral")


class Source:
    """Records of some statements each."""

    images_per_record, labelled = 1, True

    def __init__(self, *records):
        self.records = records

    def __len__(self):
        return len(self.records)

    def text_of(self, index):
        return (), self.records[index]


def statement(text, label):
    return Question(text, ((label, 1.0),))


@pytest.fixture
def run():
    mesh = jax.make_mesh((1,), ("data",), (AxisType.Auto,), devices=jax.devices()[:1])
    config = default_config()
    config.data.questions_per_image = config.eval.batch_size = 2
    return SimpleNamespace(
        config=config,
        vocabulary=SimpleNamespace(answers=CLASSES),
        batch_sharding=NamedSharding(mesh, PartitionSpec("data")),
        predict_step=lambda params, batch: params * batch["logits"],
    )


def test_order_classes_and_consistency(run):
    source = Source(
        (statement("a", "neutral"), statement("b", "neutral"), statement("c", "entailment")),
        (statement("a", "entailment"),),
        (statement("d", "contradiction"), statement("b", "neutral")),
    )
    # Rows of two questions: a b | c - | a - | d b; the fourth is the last of the second batch.
    best = np.array([1, 1, 0, 1, 1, 1, 0, 1])
    logits = np.eye(2, dtype=np.float32)[best]
    found = judge(run, np.float32(1), [{"logits": logits[:4]}, {"logits": logits[4:]}], source)
    assert found.classes == (*CLASSES, "contradiction")
    assert found.statements == ("a", "b", "c", "a", "d", "b")
    np.testing.assert_array_equal(found.labels, [1, 1, 0, 0, 2, 1])
    np.testing.assert_array_equal(found.predictions, [1, 1, 0, 1, 0, 1])
    np.testing.assert_array_equal(found.matrix, [[1, 1, 0], [0, 3, 0], [1, 0, 0]])
    assert found.consistency == 2 / 4, "b and c; a is wrong once, d always"
    assert "contradiction" in found.report


def test_verdicts_are_the_classes_of_pairs(run):
    run.config.tasks.vqa.weight, run.config.tasks.nlvr.weight = 0.0, 1.0
    run.config.data.questions_per_image = 1
    source = Source((statement("a", "true"),), (statement("b", "false"),), (statement("a", "true"),))
    logits = np.array([[0, 1], [0, 1], [0, 1], [5, 0]], np.float32)
    found = judge(run, np.float32(1), [{"logits": logits[:2]}, {"logits": logits[2:]}], source)
    assert found.classes == ("false", "true")
    np.testing.assert_array_equal(found.matrix, [[0, 1], [0, 2]])
    assert found.consistency == 1 / 2
