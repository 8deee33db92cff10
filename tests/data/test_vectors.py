"""Reference vectors of captions: rows of the file in a batch, and a message for every kind of fault."""

import json
from contextlib import closing

import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.images import decode_image
from vlfusion_jax.data.pipeline import check_data, check_eval_data, eval_batches, train_batches
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.vectors import ReferenceVectors
from vlfusion_jax.data.vocabulary import build_vocabulary

WIDTH, LENGTH = 3, 8
# A blank line, a list of captions, one that stands twice, one without a vector, an image without a caption.
LINES = [
    {"image": "0.png", "caption": "one red thing"},
    {"image": "1.png", "caption": ["two blue things", "two things"]},
    "",
    {"image": "2.png", "question": "what", "answer": "nothing"},
    {"image": "0.png", "question": "how many", "answer": "one"},
    {"image": "3.png", "caption": "four green things"},
    {"image": "0.png", "caption": ["a thing", "one red thing"]},
    {"image": "1.png", "caption": "blue"},
]
ROWS = [line for line in LINES if line]
WITHOUT_VECTOR = 4  # row of a caption
WITHOUT_CAPTION = (2, 3)


@pytest.fixture
def vectors():
    found = np.random.default_rng(1).normal(size=(len(ROWS), WIDTH))
    found[WITHOUT_VECTOR] = np.nan
    found[WITHOUT_CAPTION[0], 0] = np.inf  # nobody reads it
    return found


@pytest.fixture
def folder(tmp_path, write_jsonl, png, vectors):
    write_jsonl(tmp_path, LINES, {f"{n}.png": png(8, 8, n) for n in range(4)})
    np.save(tmp_path / "train.vectors.npy", vectors)
    return tmp_path


@pytest.fixture
def config(folder, jsonl_config):
    config = jsonl_config(folder)
    config.data.caption_length, config.tasks.context.width = LENGTH, WIDTH
    for task in names.TASKS:
        config.tasks[task].weight = float(task == names.CONTEXT)
    return config


@pytest.fixture
def opened(config):
    source = open_source(config.data, "train")
    return source, build_vocabulary([source], config.data)


def expected_of(vectors, image, caption):
    """The vector of a caption of an image, by reading the lines again; None where there is none."""
    for row, line in enumerate(ROWS):
        captions = line.get("caption", [])
        if line["image"] == image and caption in ([captions] if isinstance(captions, str) else captions):
            return None if np.isnan(vectors[row]).all() else vectors[row].astype(np.float32)
    raise AssertionError("no such line")


def take(config, source, vocabulary, count=12, **keywords):
    with closing(train_batches(config, source, vocabulary, **keywords)) as batches:
        return [next(batches) for _ in range(count)]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "fortran"])
def test_rows_are_those_of_the_captions(config, opened, folder, vectors, dtype):
    stored = np.asfortranarray(vectors) if dtype == "fortran" else vectors.astype(dtype)
    np.save(folder / "train.vectors.npy", stored)
    (source, vocabulary), seen = opened, set()
    images = {decode_image(source[i].image, "").tobytes(): i for i in range(len(source))}
    for batch in take(config, source, vocabulary):
        assert batch["reference/vector"].dtype == batch["reference/weight"].dtype == np.float32
        for n, pixels in enumerate(batch["image"]):
            number = images[pixels.tobytes()]
            captions = source.text_of(number)[0]
            shown = [c for c in captions if (vocabulary.encode(c, LENGTH)[0] == batch["reference/text"][n]).all()]
            given = expected_of(stored, f"{number}.png", shown[0]) if captions else None
            assert batch["reference/weight"][n] == (given is not None)
            np.testing.assert_array_equal(batch["reference/vector"][n], np.zeros(WIDTH) if given is None else given)
            seen |= {(number, *shown)}
    assert len(seen) == 7, "every caption, and the image without one"


def test_the_first_line_of_a_caption_counts(opened, vectors):
    source, _ = opened
    found = ReferenceVectors(source, WIDTH).of(0, "one red thing")
    np.testing.assert_array_equal(found, vectors[0].astype(np.float32))
    assert source.text_of(0)[0] == ("one red thing", "a thing")


def test_other_views_are_as_without_the_task(config, opened):
    """Hosts compute their rows alone, and what the other tasks read stays what it was."""
    for task in (names.MLM, names.ITM, names.CAPTION, names.VQA):
        config.tasks[task].weight = 1.0
    with_it = take(config, *opened)
    parts = [take(config, *opened, rows=rows) for rows in ([0], [1, 2, 3])]
    for whole, *blocks in zip(with_it, *parts, strict=True):
        for key, array in whole.items():
            np.testing.assert_array_equal(array, np.concatenate([block[key] for block in blocks]), err_msg=key)
    config.tasks.context.weight = 0.0
    without = take(config, *opened)
    assert without[0].keys() < with_it[0].keys()
    for batch, other in zip(with_it, without, strict=True):
        for key, array in other.items():
            np.testing.assert_array_equal(array, batch[key], err_msg=key)


def test_an_evaluation_counts_first_captions_once(config, opened, vectors):
    config.tasks.vqa.weight, config.data.questions_per_image, config.eval.batch_size = 1.0, 1, 3
    with closing(eval_batches(config, *opened)) as batches:
        batches = list(batches)
    rows = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    counted = rows["reference/vector"][rows["reference/weight"] > 0]
    np.testing.assert_array_equal(counted, vectors[[0, 1]].astype(np.float32))


def test_nothing_is_read_where_the_task_is_off(config, opened, folder):
    (folder / "train.vectors.npy").unlink()
    config.tasks.context.weight, config.tasks.caption.weight = 0.0, 1.0
    assert "reference/vector" not in take(config, *opened, count=1)[0]


def missing(file, vectors):
    file.unlink()


def no_array(file, vectors):
    file.write_bytes(b"no array at all")


def cut(file, vectors):
    file.write_bytes(file.read_bytes()[:-8])


def objects(file, vectors):
    np.save(file, vectors.astype(object), allow_pickle=True)


FAULTS = {
    "missing": (missing, r"which does not exist: save a float array .* set tasks.context.weight=0"),
    "no array": (no_array, r"cannot read .* as an array of NumPy.*write it by np.save"),
    "cut": (cut, "cannot read .* as an array of NumPy"),
    "objects": (objects, "cannot read .* as an array of NumPy"),
    "whole numbers": (lambda file, v: np.save(file, np.ones(v.shape, int)), r"is an array of int64.*save float16"),
    "complex": (lambda file, v: np.save(file, v.astype(complex)), "is an array of complex128"),
    "one dim": (lambda file, v: np.save(file, v[:, 0]), r"of shape \(7,\); save .* of shape \(lines, numbers"),
    "a row less": (lambda file, v: np.save(file, v[1:]), r"has 6 rows, but '.*train.jsonl' 7 lines that are not blank"),
    "wider": (
        lambda file, v: np.save(file, np.tile(v, 2)),
        r"of 6 numbers, but .*width is 3: set tasks.context.width=6",
    ),
    "none": (lambda file, v: np.save(file, v * np.nan), "has no vector of any caption that is read"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused(config, opened, folder, vectors, fault):
    change, message = FAULTS[fault]
    change(folder / "train.vectors.npy", vectors)
    for check in (check_data, check_eval_data):
        with pytest.raises(UserError, match=message) as caught:
            check(config, *opened)
        assert str(folder / "train.vectors.npy") in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_named_when_read(config, opened, folder, vectors, value):
    vectors[0, 1] = value
    np.save(folder / "train.vectors.npy", vectors)
    with pytest.raises(UserError, match=r"train.vectors.npy' row 0, counted from 0, has numbers that are not finite"):
        take(config, *opened)


def test_an_evaluation_needs_a_vector_within_its_limit(config, opened, folder, vectors):
    vectors[:] = np.nan
    vectors[WITHOUT_VECTOR] = 1  # of the last image
    np.save(folder / "train.vectors.npy", vectors)
    check_eval_data(config, *opened)
    config.data.eval_limit = 3
    with pytest.raises(UserError, match="has no vector of any caption"):
        check_eval_data(config, *opened)


def test_an_evaluation_needs_a_vector_of_a_first_caption(config, opened, folder, vectors):
    vectors[:] = np.nan
    vectors[6] = 1  # of the second caption of the first image
    np.save(folder / "train.vectors.npy", vectors)
    check_data(config, *opened)
    with pytest.raises(UserError, match="has no vector of any caption that is read"):
        check_eval_data(config, *opened)


def test_a_fingerprint_tells_other_numbers(opened, folder, vectors):
    before = ReferenceVectors(opened[0], WIDTH).fingerprint()
    assert ReferenceVectors(opened[0], WIDTH).fingerprint() == before
    vectors[-1, -1] += 1
    np.save(folder / "train.vectors.npy", vectors)
    assert ReferenceVectors(opened[0], WIDTH).fingerprint() != before


def test_other_data_sets_are_refused(clevr_config, clevr_train):
    clevr_config.tasks.context.weight, clevr_config.tasks.context.width = 1.0, WIDTH
    with pytest.raises(UserError, match=r"task context reads vectors beside JSONL files: set data.source=jsonl"):
        train_batches(clevr_config, clevr_train, build_vocabulary([clevr_train], clevr_config.data))


def test_no_caption_is_refused(config, folder, write_jsonl):
    write_jsonl(folder, [json.dumps(line) for line in ROWS if "question" in line], {})
    source = open_source(config.data, "train")
    with pytest.raises(UserError, match=r"captions are needed by context, but .*tasks.context.weight=0"):
        check_data(config, source, build_vocabulary([source], config.data))
