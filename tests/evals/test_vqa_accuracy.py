"""The accuracy of VQA against vectors that its authors' evaluation made."""

import json

import pytest

from vlfusion_jax.evals.vqa_accuracy import Answered, answer_accuracy, normalise_answer, vqa_accuracy


def lines(folder, name):
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def test_normalised_answers(data_folder):
    vectors = lines(data_folder("vqa_metric"), "normalize.jsonl")
    assert len(vectors) == 208
    wrong = [(each, found) for each in vectors if (found := normalise_answer(each["raw"])) != each["normalized"]]
    assert not wrong


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


@pytest.mark.parametrize(
    ("raw", "normalised"),
    [
        ("The two dogs.", "2 dogs"),
        ("dont", "don't"),
        ("couldntve", "couldntve"),  # two apostrophes too few
        ("wouldn'tve", "wouldn't've"),
        ("t-shirt", "t shirt"),
        ("t-shirt 1,000", "tshirt 1000"),
        ("3.5", "3.5"),
        ("." * 40, "." * 8),
        ("", ""),
    ],
)
def test_rules(raw, normalised):
    assert normalise_answer(raw) == normalised


@pytest.mark.parametrize(("equal", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_leave_one_out(equal, expected):
    assert answer_accuracy("red", ["red"] * equal + [f"other{i}" for i in range(10 - equal)]) == pytest.approx(expected)


def test_one_answer_is_too_few():
    with pytest.raises(ValueError, match="leaves one answer out of several, here of 1"):
        answer_accuracy("red", ["red"])


def test_no_questions():
    assert vqa_accuracy([]) == {}
