"""The accuracy of VQA against vectors that its authors' evaluation made."""

import json

import pytest

from vlfusion_jax.evals.vqa_accuracy import Answered, answer_accuracy, vqa_accuracy


def lines(folder, name):
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def test_accuracies(data_folder):
    folder = data_folder("vqa_metric")
    vectors = lines(folder, "accuracy.jsonl")
    assert len(vectors) == 300
    for each in vectors:
        # As the evaluation writes it: percent, to two places.
        assert round(100 * answer_accuracy(each["prediction"], each["answers"]), 2) == each["accuracy"] * 100, each
    found = vqa_accuracy(
        Answered(each["prediction"], tuple(each["answers"]), (each["question_type"], each["answer_type"]))
        for each in vectors
    )
    overall = json.loads((folder / "accuracy.overall.json").read_text(encoding="utf-8"))
    expected = {"accuracy": overall["overall"]}
    for kinds in (overall["perQuestionType"], overall["perAnswerType"]):
        expected |= {f"accuracy_{kind}": value for kind, value in kinds.items()}
    assert {name: 100 * value for name, value in found.items()} == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("equal", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_leave_one_out(equal, expected):
    assert answer_accuracy("red", ["red"] * equal + [f"other{i}" for i in range(10 - equal)]) == pytest.approx(expected)


def test_one_answer_is_too_few():
    with pytest.raises(ValueError, match="leaves one answer out of several, here of 1"):
        answer_accuracy("red", ["red"])


def test_no_questions():
    assert vqa_accuracy([]) == {}
