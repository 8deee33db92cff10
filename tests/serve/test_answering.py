"""The accuracy of chosen answers against a loop over questions and answers, on one device and on eight."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from PIL import Image

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.data.images import decode_image
from vlfusion_jax.data.records import Question
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.vocabulary import build_vocabulary
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.serve.answering import answering_evaluator, answering_metrics
from vlfusion_jax.serve.batches import answer_split
from vlfusion_jax.serve.inputs import picture_arrays, text_arrays
from vlfusion_jax.serve.model import Model
from vlfusion_jax.train.setup import build

ANSWERS = ("red", "dark red", "a dog", "a dark dog", "two", "no", "dog")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven images of none to four questions; four people answered each."""
    folder, draw = tmp_path_factory.mktemp("answers"), np.random.default_rng(0)
    (folder / "images").mkdir()
    rows = []
    for n in range(7):
        pixels = draw.integers(256, size=(16, 24, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{n}.png")
        for k in range(n % 5):
            answers = [ANSWERS[i] for i in draw.integers(len(ANSWERS), size=4)]
            asked = {"question": f"what {'abcde'[k]} is {'abcde'[n % 5]}", "answer": answers}
            rows.append({"image": f"{n}.png", **asked} | ({"kind": ("odd", "even")[k % 2]} if k else {}))
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module", params=["albef", "blip"])
def case(request, albef_config, folder):
    """(config, vocabulary, source) of a run that writes answers."""
    config = albef_config({"answer": 1}, data__path=str(folder), data__source="jsonl", data__eval_split="train")
    config.data.questions_per_image, config.data.question_length, config.data.vocab_size = 2, 12, 80
    source = open_source(config.data, "train")
    vocabulary = build_vocabulary([source], config.data, writes_answers=True)
    if request.param == "blip":
        ends = {"begin_id": vocabulary.begin_id, "end_id": vocabulary.end_id}
        config.model = hyperparameters("blip", "tiny", variant="vqa", patch_size=8, text_positions=12, **ends)
    return config, vocabulary, source


def large(state):
    """Parameters so large that the answer depends on the question."""
    return jax.tree.map(lambda x: x * 10 if x.ndim > 1 else x, state.params)


def best_answers(run, params, source):
    """The most probable answer to every question, each read with every answer."""
    vocabulary, data, found = run.vocabulary, run.config.data, []
    target = text_arrays(vocabulary.answers, names.TARGET, vocabulary, 8, fill=False)
    tokens, follows = target[names.TARGET], target[names.mask_of(names.TARGET)][:, 1:] > 0
    read = jax.jit(lambda inputs: run.model.apply({"params": params}, inputs, (names.ANSWER,)).logits[names.ANSWER])
    for record in map(source.__getitem__, range(len(source))):
        for question in record.questions:
            asked = text_arrays([question.text], names.TEXT, vocabulary, data.question_length, fill=False)
            asked |= picture_arrays([decode_image(record.image, "")], data)
            logits = read(target | {name: np.repeat(x, len(tokens), axis=0) for name, x in asked.items()})
            logits = np.asarray(logits[..., : vocabulary.size], np.float64)
            log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            of_tokens = np.take_along_axis(log_probs[:, :-1], tokens[:, 1:, None], axis=2)[..., 0]
            found.append(vocabulary.answers[int(np.argmax((of_tokens * follows).sum(1)))])
    return found


def test_by_every_answer_to_every_question(case, random_state):
    config, vocabulary, source = case
    run = build(config, vocabulary, jax.devices()[:1])
    params = large(random_state(run))
    questions = [question for number in range(len(source)) for question in source[number].questions]
    best = best_answers(run, params, source)
    assert len(best) == 11
    assert len(set(best)) > 2
    scores = np.array(
        [dict(question.answers).get(answer, 0.0) for question, answer in zip(questions, best, strict=True)]
    )
    kinds = np.array([question.kind for question in questions])
    assert 0 < scores.mean() < 1
    expected = {"answer_accuracy": scores.mean()}
    expected |= {f"answer_accuracy_{kind}": scores[kinds == kind].mean() for kind in ("odd", "even")}
    evaluate = answering_evaluator(run, source)
    assert evaluate(params) == pytest.approx(expected)
    other = jax.tree.map(lambda x: -x, params)
    assert evaluate(other) != pytest.approx(expected)

    many = build(config, vocabulary)
    assert many.strategy.mesh.size == 8
    placed = jax.device_put(jax.device_get(params), jax.tree.map(lambda x: x.sharding, many.abstract_state.params))
    assert answering_evaluator(many, source)(placed) == pytest.approx(expected)


def test_files_of_a_split_are_chosen_alike(case, random_state):
    config, vocabulary, source = case
    run = build(config, vocabulary, jax.devices()[:1])
    params = large(random_state(run))
    model = Model(config, vocabulary, flatten(jax.device_get(params)))
    assert model.heads == (names.ANSWER,)
    named = Named(source)
    ids, answers = answer_split(model, named, 4)
    assert ids == [f"{n}" for n in range(11)]
    assert answers == best_answers(run, params, source)


class Named:
    """A source whose questions have ids: their numbers."""

    images_per_record = 1

    def __init__(self, source):
        self._source, self._texts, count = source, [], 0
        for number in range(len(source)):
            questions = source[number].questions
            self._texts.append([replace(q, id=f"{count + k}") for k, q in enumerate(questions)])
            count += len(questions)

    def __len__(self):
        return len(self._source)

    def __getitem__(self, number):
        return self._source[number]

    def text_of(self, number):
        return (), self._texts[number]


def test_what_is_no_question_or_has_no_answer_does_not_count():
    questions = [
        Question("a", (("x", 1.0), ("y", 0.3))),
        None,
        Question("b", (), "k"),
        Question("c", (("x", 0.6),), "k"),
    ]
    assert answering_metrics(questions, ["y", "x", "x", "x"]) == pytest.approx(
        {"answer_accuracy": 0.45, "answer_accuracy_k": 0.6}
    )
    assert answering_metrics(questions, ["z"] * 4) == {"answer_accuracy": 0, "answer_accuracy_k": 0}
    assert answering_metrics([None, questions[2]], ["x", "x"]) == {}


def test_an_answer_without_room_is_refused_before_work_starts(case):
    config, vocabulary, source = case
    run = build(config, replace(vocabulary, answers=("no", "red " * 11)), jax.devices()[:1])
    with pytest.raises(UserError, match=r"red ' has 13 tokens; this model has room for 12"):
        answering_evaluator(run, source)
