"""Questions with an answer to be written: which is drawn, its tokens, and what the draw leaves as it is."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.examples import answered_view, draw_answer, without_weight
from vlfusion_jax.data.layout import layout_of
from vlfusion_jax.data.pipeline import batch_shapes, check_data, eval_batches, eval_questions, train_batches
from vlfusion_jax.data.records import Question
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.vocabulary import build_vocabulary
from vlfusion_jax.models.families.table import hyperparameters

SCORED = Question("what", (("a dog", 1.0), ("dog", 0.6), ("cat", 0.3), ("horse", 0.1)))


@pytest.fixture
def toy(toy_folder, jsonl_config):
    config = jsonl_config(toy_folder)
    config.tasks.answer.weight = 1.0
    config.data.answer_length = 5
    source = open_source(config.data, "train")
    return config, source, build_vocabulary([source], config.data, writes_answers=True)


class Even:
    """A generator whose draws are the quantiles of a uniform distribution, one after the other."""

    def __init__(self, count):
        self.quantiles = iter((np.arange(count) + 0.5) / count)

    def choice(self, count, p):
        return int(np.searchsorted(np.cumsum(p), next(self.quantiles)))


def test_answers_are_drawn_by_their_scores():
    """Over evenly spread draws each answer comes as often as its share of the scores says, class or not."""
    draws = 2000
    even = Even(draws)
    found = [draw_answer(SCORED, even) for _ in range(draws)]
    assert {answer: found.count(answer) for answer, _ in SCORED.answers} == {
        "a dog": 1000, "dog": 600, "cat": 300, "horse": 100,
    }  # fmt: skip
    rng = np.random.default_rng(0)
    random = [draw_answer(SCORED, rng) for _ in range(draws)]
    for answer, score in SCORED.answers:
        share = score / 2
        assert abs(random.count(answer) / draws - share) < 4.5 * np.sqrt(share * (1 - share) / draws)


@pytest.mark.parametrize("begin", [None, 1])
def test_tokens_and_weights(toy, begin):
    config, _, vocabulary = toy
    layout = replace(layout_of(config), questions=4, begin_id=begin)
    long = " ".join(["yes"] * 5)
    questions = [Question("what", (("no", 1.0),)), Question("why", ()), Question("how", ((long, 0.3),))]
    view = answered_view(questions, np.float32([1, 0, 1, 0]), layout, vocabulary, np.random.default_rng(0))
    first = vocabulary.begin_id if begin is None else begin
    no, yes = (vocabulary.tokenizer.encode(word, add_special_tokens=False).ids for word in ("no", "yes"))
    assert len(no) == len(yes) == 1
    pad, end = vocabulary.pad_id, vocabulary.end_id
    assert view["answered/target"].tolist() == [
        [first, *no, end, pad, pad], [first, end, pad, pad, pad], [first, *yes * 3, end], [first, end, pad, pad, pad],
    ]  # fmt: skip
    assert view["answered/target_mask"].sum(1).tolist() == [3, 2, 5, 2]
    # Behind the last word the end is predicted, but for an answer that is cut.
    assert view["answered/weights"].tolist() == [[1, 1, 0, 0, 0], [0] * 5, [1, 1, 1, 0, 0], [0] * 5]
    for row, text in enumerate(("what", "why", "how", "")):
        np.testing.assert_array_equal(view["answered/text"][row], vocabulary.encode(text, layout.question_length)[0])


def take(config, source, vocabulary, **keywords):
    with closing(train_batches(config, source, vocabulary, **keywords)) as batches:
        return [next(batches) for _ in range(6)]


def test_no_other_draw_changes(toy):
    """Whether the task is on or off, and whether the classes are; of the same rows on any host."""
    config, source, vocabulary = toy
    every = take(config, source, vocabulary)
    shapes = batch_shapes(config, vocabulary)
    assert {key: (x.shape, x.dtype) for key, x in every[0].items()} == {
        key: (x.shape, x.dtype) for key, x in shapes.items()
    }
    parts = [take(config, source, vocabulary, rows=rows) for rows in ([0, 1], [2, 3])]
    for whole, *blocks in zip(every, *parts, strict=True):
        for key, array in whole.items():
            np.testing.assert_array_equal(array, np.concatenate([block[key] for block in blocks]), err_msg=key)
    for task in ("answer", "vqa"):
        config.tasks[task].weight = 0.0
        for whole, less in zip(every, take(config, source, vocabulary), strict=True):
            assert 0 < len(less) < len(whole)
            for key, array in less.items():
                np.testing.assert_array_equal(array, whole[key], err_msg=key)
        config.tasks[task].weight = 1.0


def test_answers_without_a_class_count(toy):
    config, source, vocabulary = toy
    fewer = replace(vocabulary, answers=("yes",))
    for whole, less in zip(take(config, source, vocabulary), take(config, source, fewer), strict=True):
        for key in (key for key in whole if key.startswith(names.ANSWERED)):
            np.testing.assert_array_equal(whole[key], less[key], err_msg=key)
    config.tasks.vqa.weight = 0.0
    check_data(config, source, replace(vocabulary, answers=("nothing that is said",)))


def test_evaluation_asks_every_question_once(toy):
    config, source, vocabulary = toy
    for task in names.TASKS:
        config.tasks[task].weight = float(task == names.ANSWER)
    with closing(eval_batches(config, source, vocabulary)) as batches:
        batches = list(batches)
    rows = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    asked = eval_questions(config, source)
    assert sum(question is not None for question in asked) == sum(len(source[n].questions) for n in range(5)) == 10
    for question, text, target, weights in zip(
        asked, rows["answered/text"], rows["answered/target"], rows["answered/weights"], strict=True
    ):
        assert weights.any() == (question is not None)
        if question is not None:
            np.testing.assert_array_equal(text, vocabulary.encode(question.text, config.data.question_length)[0])
            np.testing.assert_array_equal(target, vocabulary.encode(question.answers[0][0], 5)[0])
    empty = without_weight(batches[0])
    assert {key for key in empty if not np.array_equal(empty[key], batches[0][key])} == {"answered/weights"}


def test_the_tokenizer_learns_the_words_of_answers(toy, tmp_path, write_jsonl, png):
    config, _, _ = toy
    rows = [{"image": "0.png", "question": "aa", "answer": "7"}, {"image": "0.png", "question": "ab", "answer": "8"}]
    config.data.path = str(write_jsonl(tmp_path / "digits", rows, {"0.png": png(8, 8)}))
    source = open_source(config.data, "train")
    without, known = (build_vocabulary([source], config.data, writes_answers=writes) for writes in (False, True))
    assert [without.tokenizer.encode(answer).tokens[1] for answer in "78"] == ["[UNK]"] * 2
    assert [known.tokenizer.encode(answer).tokens[1] for answer in "78"] == ["7", "8"]
    assert known.answers == without.answers == ("7", "8")


def test_what_is_missing_is_named(toy, tmp_path, write_jsonl, png):
    config, source, vocabulary = toy
    config.model = hyperparameters("blip", "tiny", variant="vqa")
    with pytest.raises(UserError, match=r"model.begin_id is 30522 .* tokenizer has \d+ tokens .*set model.begin_id="):
        check_data(config, source, vocabulary)
    rows = [{"image": "0.png", "caption": "c"}]
    config.data.path = str(write_jsonl(tmp_path / "bare", rows, {"0.png": png(8, 8)}))
    for task in names.TASKS:
        config.tasks[task].weight = float(task == names.ANSWER)
    with pytest.raises(UserError, match=r"task answer finds no question in split 'train': set tasks.answer.weight=0"):
        check_data(config, open_source(config.data, "train"), vocabulary)
