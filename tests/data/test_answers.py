"""The normaliser of answers against vectors that VQA's own evaluation made; soft scores against the published ones."""

import json

import pytest

from vlfusion_jax.data.answers import normalise_answer, soft_answers


def test_normalised_answers(data_folder):
    vectors = [
        json.loads(line) for line in (data_folder("vqa_metric") / "normalize.jsonl").read_text("utf-8").splitlines()
    ]
    assert len(vectors) == 208
    wrong = [(each, found) for each in vectors if (found := normalise_answer(each["raw"])) != each["normalized"]]
    assert not wrong


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


@pytest.mark.parametrize(("people", "score"), [(1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0)])
def test_soft_scores_of_ten_annotators(people, score):
    found = dict(soft_answers(["red"] * people + ["blue"] * (10 - people)))
    assert found["red"] == pytest.approx(score, abs=1e-12)
    assert set(found) == {"red", "blue"}


def test_best_answer_first_then_by_name():
    assert [answer for answer, _ in soft_answers(["b", "c", "a", "c"])] == ["c", "a", "b"]
