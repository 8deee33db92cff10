"""Statements: about one image they are questions with a label, about two they make pairs, kept together everywhere."""

from collections import Counter
from contextlib import closing

import numpy as np
import pytest

from vlfusion_jax.config.validate import validate
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.images import decode_image
from vlfusion_jax.data.pipeline import batch_shapes, eval_batches, eval_questions, train_batches
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.vocabulary import build_vocabulary
from vlfusion_jax.evals.blind import blind_accuracy

ROW = {"image": ["0.png", "1.png"], "statement": "both are red", "label": True}


def pair_rows():
    """Seven pairs of images; pair n has n % 3 + 1 statements, of eleven, some on several pairs."""
    labels = (True, False, "true", "False", "TRUE")
    return [
        {"image": [f"{n}.png", f"{n + 1}.png"], "statement": f"statement {(n + s) % 4}", "label": labels[(n + s) % 5]}
        for s in range(3)
        for n in range(7)
        if s <= n % 3
    ]


@pytest.fixture
def pairs(tmp_path, write_jsonl, jsonl_config, png):
    """(config, source, vocabulary) of seven pairs, four a batch."""
    rows = pair_rows()
    config = jsonl_config(write_jsonl(tmp_path, rows, {f"{n}.png": png(8, 8, n) for n in range(8)}))
    for task in names.TASKS:
        config.tasks[task].weight = 0.0
    config.tasks.nlvr.weight, config.data.questions_per_image = 1.0, 1
    validate(config)
    source = open_source(config.data, "train")
    return config, source, build_vocabulary([source], config.data)


def take(count, config, source, vocabulary, **options):
    with closing(train_batches(config, source, vocabulary, **options)) as batches:
        return [next(batches) for _ in range(count)]


def facts(batch, vocabulary):
    """(pixels of the first image, of the second, statement, label) of every pair of a batch."""
    first, second = batch["image"][::2], batch["image"][1::2]
    rows = zip(first, second, batch["statement/text"], batch["statement/label"], strict=True)
    return [(a.tobytes(), b.tobytes(), vocabulary.decode(text), int(label)) for a, b, text, label in rows]


def known_facts(source, vocabulary):
    found = Counter()
    for record in (source[n] for n in range(len(source))):
        first, second = (decode_image(image.data, image.name).tobytes() for image in record.images)
        for question in record.questions:
            said = vocabulary.decode(vocabulary.encode(question.text, 16)[0])
            found[first, second, said, int(question.answers[0][0] == "true")] += 1
    return found


def test_lines_of_a_pair_become_one_record(pairs):
    _, source, _ = pairs
    assert (len(source), source.images_per_record, source.labelled) == (7, 2, True)
    assert [len(source.text_of(n)[1]) for n in range(7)] == [1, 2, 3, 1, 2, 3, 1]
    assert [[image.name.rpartition("/")[2] for image in source[n].images] for n in (0, 6)] == [
        ["0.png", "1.png"], ["6.png", "7.png"],
    ]  # fmt: skip
    assert [question.answers for question in source[2].questions] == [
        (("true", 1.0),), (("false", 1.0),), (("true", 1.0),),
    ]  # fmt: skip
    assert len(list(source.texts())) == 13


def test_batches_hold_what_the_lines_say(pairs):
    config, source, vocabulary = pairs
    known, seen = known_facts(source, vocabulary), Counter()
    shapes = batch_shapes(config, vocabulary)
    for batch in take(40, *pairs):
        assert {key: (array.shape, array.dtype) for key, array in batch.items()} == {
            key: (shape.shape, shape.dtype) for key, shape in shapes.items()
        }
        assert batch["statement/image_modality"].tolist() == [1, 2] * 4
        assert (batch["statement/weight"] == 1).all()
        seen.update(facts(batch, vocabulary))
    assert seen.keys() == known.keys(), "every statement, with its own pair, and no other"


def test_hosts_and_steps_change_nothing(pairs):
    whole = take(6, *pairs)
    late = take(2, *pairs, start_step=4)
    parts = [take(6, *pairs, rows=rows) for rows in ([0, 2], [1, 3])]
    for key in whole[0]:
        each = len(whole[0][key]) // 4
        for step in range(6):
            grouped = whole[step][key].reshape(4, each, *whole[step][key].shape[1:])
            for rows, part in zip(([0, 2], [1, 3]), parts, strict=True):
                np.testing.assert_array_equal(grouped[rows].reshape(part[step][key].shape), part[step][key])
        for step in (4, 5):
            np.testing.assert_array_equal(whole[step][key], late[step - 4][key])


def test_evaluation_has_every_statement_once(pairs):
    config, source, vocabulary = pairs
    with closing(eval_batches(config, source, vocabulary)) as batches:
        batches = list(batches)
    assert [len(batch["image"]) for batch in batches] == [8] * 4, "13 statements, three rows to fill up"
    weights = np.concatenate([batch["statement/weight"] for batch in batches])
    found = [fact for batch in batches for fact in facts(batch, vocabulary)]
    assert Counter(fact for fact, weight in zip(found, weights, strict=True) if weight) == known_facts(
        source, vocabulary
    )
    shown = eval_questions(config, source)
    assert [question is not None for question in shown] == (weights > 0).tolist()
    for (*_, said, label), question in zip(found, shown, strict=True):
        if question:
            assert said == vocabulary.decode(vocabulary.encode(question.text, 16)[0])
            assert names.VERDICTS[label] == question.answers[0][0]


def test_questions_in_the_order_of_an_evaluation(toy_folder, jsonl_config):
    config = jsonl_config(toy_folder)
    source = open_source(config.data, "train")
    vocabulary = build_vocabulary([source], config.data)
    with closing(eval_batches(config, source, vocabulary)) as batches:
        batches = list(batches)
    shown = eval_questions(config, source)
    texts = np.concatenate([batch["question/text"] for batch in batches])
    weights = np.concatenate([batch["question/weight"] for batch in batches])
    assert sum(question is not None for question in shown) == 10
    for question, text, weight in zip(shown, texts, weights, strict=True):
        assert (question is not None) == (weight > 0)
        if question:
            np.testing.assert_array_equal(text, vocabulary.encode(question.text, 16)[0])


def test_each_image_is_flipped_by_itself_unless_a_side_is_named(tmp_path, write_jsonl, jsonl_config, png):
    rows = [ROW | {"statement": "two dogs"}, ROW | {"image": ["2.png", "3.png"], "statement": "the left image is red"}]
    config = jsonl_config(write_jsonl(tmp_path, rows, {f"{n}.png": png(8, 8, n) for n in range(4)}))
    for task in names.TASKS:
        config.tasks[task].weight = 0.0
    config.tasks.nlvr.weight, config.data.questions_per_image, config.data.flip = 1.0, 1, True
    source = open_source(config.data, "train")
    originals = [decode_image(image.data, "") for n in range(2) for image in source[n].images]
    ways = Counter()
    for batch in take(30, config, source, build_vocabulary([source], config.data)):
        for pair in batch["image"].reshape(4, 2, 8, 8, 3):
            found = []
            for image in pair:
                for number, original in enumerate(originals):
                    if np.array_equal(image, original):
                        found.append((number, "as it is"))
                    elif np.array_equal(image, original[:, ::-1]):
                        found.append((number, "mirrored"))
            ways[tuple(found)] += 1
    flips = ("as it is", "mirrored")
    assert set(ways) == {((0, a), (1, b)) for a in flips for b in flips} | {((2, "as it is"), (3, "as it is"))}


def test_majority_of_a_statement_is_the_blind_bound(pairs):
    _, source, _ = pairs
    best = Counter()
    for statement in range(4):
        said = [q.answers[0][0] for n in range(7) for q in source.text_of(n)[1] if q.text == f"statement {statement}"]
        best["right"] += max(Counter(said).values())
    assert blind_accuracy(source, source)["accuracy_blind"] == pytest.approx(best["right"] / 13)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW, ROW | {"image": "0.png"}], "line 2: field 'image' is one image, on the lines above it is a pair"),
        ([ROW | {"image": "0.png"}, ROW], "line 2: field 'image' is a pair of images, .* one image"),
        ([ROW | {"image": ["0.png"]}], r"line 1: field 'image' is \[\"0.png\"\], expected .*, or a list of two"),
        ([ROW | {"image": ["0.png", "1.png", "0.png"]}], "line 1: field 'image' .* a list of two"),
        ([ROW | {"image": ["0.png", 1]}], "line 1: field 'image' .* a list of two"),
        ([ROW | {"image": ["0.png", " "]}], "line 1: field 'image' .* a list of two"),
        ([ROW, ROW | {"image": ["0.png", "none.png"]}], "line 2: image 'none.png' is in no"),
        ([ROW | {"image": ["0.png", "\ud83d.png"]}], "line 1: field 'image' holds .*surrogate"),
        ([{"image": ["0.png", "1.png"], "label": True}], "line 1 has no field 'statement'.*data.fields.statement"),
        ([{"image": ["0.png", "1.png"], "statement": "so"}], "line 1 has no field 'label'.*data.fields.label"),
        ([ROW | {"statement": 3}], "line 1: field 'statement' is 3, expected a text"),
        ([ROW | {"label": "maybe"}], "line 1: field 'label' is \"maybe\", expected true or false"),
        ([ROW | {"label": 1}], "line 1: field 'label' is 1, expected true or false"),
        ([ROW | {"label": [True, False]}], r"line 1: field 'label' is \[true, false\], expected true or false"),
        ([ROW | {"label": {}}], "line 1: field 'label' is not a text or a list of texts"),
    ],
)
def test_damaged_pairs_are_refused(tmp_path, write_jsonl, jsonl_config, png, rows, message):
    config = jsonl_config(write_jsonl(tmp_path, rows, {f"{n}.png": png(8, 8, n) for n in range(2)}))
    with pytest.raises(UserError, match=message) as caught:
        open_source(config.data, "train")
    assert str(tmp_path) in str(caught.value)


def test_fields_of_a_pair_come_from_the_config(tmp_path, write_jsonl, jsonl_config, png):
    """NLVR2's own names; what else a line has is not read."""
    rows = [{"files": ["0.png", "1.png"], "sentence": "so it is", "gold": "True", "question": 5, "caption": "c"}]
    config = jsonl_config(write_jsonl(tmp_path, rows, {f"{n}.png": png(8, 8, n) for n in range(2)}))
    config.data.fields.update({"image": "files", "statement": "sentence", "label": "gold"})
    source = open_source(config.data, "train")
    captions, (question,) = source.text_of(0)
    assert (captions, question.text, question.answers) == ((), "so it is", (("true", 1.0),))


def test_labels_of_single_images_are_answers(tmp_path, write_jsonl, jsonl_config, png):
    rows = [
        {"image": "0.png", "hypothesis": "a dog", "label": "entailment", "kind": "easy"},
        {"image": "0.png", "hypothesis": "a cat", "label": "contradiction"},
        {"image": "1.png", "hypothesis": "a pet", "label": False},
    ]
    images = {f"{n}.png": png(8, 8, n) for n in range(2)}
    config = jsonl_config(write_jsonl(tmp_path, rows, images))
    config.data.fields.statement = "hypothesis"
    source = open_source(config.data, "train")
    assert (source.images_per_record, source.labelled) == (1, True)
    said = [(q.text, q.answers, q.kind) for n in range(2) for q in source.text_of(n)[1]]
    assert said == [
        ("a dog", (("entailment", 1.0),), "easy"), ("a cat", (("contradiction", 1.0),), ""),
        ("a pet", (("false", 1.0),), ""),
    ]  # fmt: skip
    write_jsonl(tmp_path, [*rows, {"image": "0.png", "question": "what ?", "answer": "so"}], images)
    assert not open_source(config.data, "train").labelled
    write_jsonl(tmp_path, [rows[0] | {"label": None}], images)
    with pytest.raises(UserError, match="line 1 has no field 'label'"):
        open_source(config.data, "train")


def test_pairs_go_alone(pairs, toy_folder, jsonl_config):
    config, source, vocabulary = pairs
    config.tasks.vqa.weight = 0.5
    with pytest.raises(UserError, match=r"tasks\.nlvr is about pairs .* set tasks\.vqa\.weight to 0"):
        validate(config)
    config.tasks.vqa.weight, config.data.questions_per_image = 0.0, 3
    with pytest.raises(UserError, match=r"data\.questions_per_image is 3; it must be 1 with tasks\.nlvr"):
        validate(config)
    config.data.questions_per_image = 1
    config.tasks.nlvr.weight, config.tasks.vqa.weight = 0.0, 1.0
    for batches in (train_batches, eval_batches):
        with pytest.raises(UserError, match=r"split 'train' has pairs of images, which only tasks\.nlvr reads"):
            batches(config, source, vocabulary)
    config.tasks.nlvr.weight, config.tasks.vqa.weight = 1.0, 0.0
    single = open_source(jsonl_config(toy_folder).data, "train")
    for batches in (train_batches, eval_batches):
        with pytest.raises(UserError, match="task nlvr reads pairs of images, but split 'train' has single ones"):
            batches(config, single, vocabulary)
