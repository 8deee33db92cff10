"""Result files for an evaluation server: complete, in order, or not written at all."""

import json

import pytest

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.evals.official_files import score_answers, write_answers

IDS = ["262148000", "262148001", "n17"]
ANSWERS = {"n17": "", "262148001": "two", "262148000": "yes"}


def test_answers_in_the_order_expected(tmp_path):
    file = tmp_path / "answers.json"
    write_answers(file, ANSWERS, IDS)
    assert json.loads(file.read_text()) == [
        {"question_id": 262148000, "answer": "yes"},
        {"question_id": 262148001, "answer": "two"},
        {"question_id": "n17", "answer": ""},
    ]
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_written_can_be_scored(tmp_path):
    people = [{"question_id": number, "answers": [{"answer": "yes"}] * 10} for number in (7, 8)]
    (tmp_path / "annotations.json").write_text(json.dumps({"annotations": people}))
    write_answers(tmp_path / "answers.json", {"8": "no", "7": "yes"}, ["7", "8"])
    scores = score_answers(tmp_path / "answers.json", tmp_path / "annotations.json")
    assert scores["accuracy"] == 0.5


@pytest.mark.parametrize(
    ("answers", "ids", "message"),
    [
        ({"7": "a"}, ["7", "8"], r"1 of 2 questions have no answer, such as 8"),
        ({"7": "a", "8": "b", "9": "c"}, ["7", "8"], r"1 of 3 answers are to no question of the split, such as 9"),
        ({"7": "a"}, ["7", "7"], "question 7 is expected twice"),
        ({"7": "a", 7: "b"}, ["7"], "'7' is there twice"),
        ({"": "a"}, [""], "does not say the ids of its questions"),
    ],
)
def test_incomplete_answers_are_refused(tmp_path, answers, ids, message):
    with pytest.raises(UserError, match=message):
        write_answers(tmp_path / "answers.json", answers, ids)
    assert not list(tmp_path.iterdir())
