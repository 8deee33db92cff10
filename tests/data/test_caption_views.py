"""Captions to be compared and captions to be written: records, weights, prompts, and the rows of an evaluation."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.examples import plain_view, without_weight, written_view
from vlfusion_jax.data.images import decode_image
from vlfusion_jax.data.layout import layout_of
from vlfusion_jax.data.pipeline import batch_shapes, eval_batches, train_batches
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.vocabulary import build_vocabulary

LENGTH = 8


@pytest.fixture
def toy(toy_folder, jsonl_config):
    config = jsonl_config(toy_folder)
    config.data.caption_length = LENGTH
    source = open_source(config.data, "train")
    return config, source, build_vocabulary([source], config.data)


def only(config, *tasks):
    for task in names.TASKS:
        config.tasks[task].weight = float(task in tasks)
    return config


def words(vocabulary, text):
    return vocabulary.tokenizer.encode(text, add_special_tokens=False).ids


def test_plain(toy):
    config, _, vocabulary = toy
    layout = layout_of(config)
    view = plain_view("a red thing", 17, layout, vocabulary)
    ids = [vocabulary.begin_id, *words(vocabulary, "a red thing"), vocabulary.end_id]
    assert view["plain/text"].tolist() == [ids + [vocabulary.pad_id] * (LENGTH - len(ids))]
    assert view["plain/text_mask"].sum() == len(ids)
    assert (view["plain/record"].tolist(), view["plain/weight"].tolist()) == ([17], [1])
    nothing = plain_view(None, 3, layout, vocabulary)
    assert (nothing["plain/record"].tolist(), nothing["plain/weight"].tolist()) == ([3], [0])
    assert nothing["plain/text_mask"].sum() == 2
    assert {key: value.dtype for key, value in view.items()} == {
        "plain/text": np.int32, "plain/text_mask": np.int32, "plain/weight": np.float32, "plain/record": np.int32,
    }  # fmt: skip


@pytest.mark.parametrize("prompt", ["", "a red", "a red "])
@pytest.mark.parametrize("begin", [None, 1])
def test_written(toy, prompt, begin):
    config, _, vocabulary = toy
    layout = replace(layout_of(config), prompt=prompt, begin_id=begin)
    view = written_view("thing", layout, vocabulary)
    given, own = words(vocabulary, prompt), words(vocabulary, "thing")
    begins = vocabulary.begin_id if begin is None else begin
    ids = [begins, *given, *own, vocabulary.end_id]
    assert view["written/target"].tolist() == [ids + [vocabulary.pad_id] * (LENGTH - len(ids))]
    assert view["written/target_mask"].tolist() == [[1] * len(ids) + [0] * (LENGTH - len(ids))]
    # Behind the last token of the prompt the first word is predicted, behind the last word the end.
    predicted = [i for i in range(LENGTH) if len(given) <= i < len(given) + len(own) + 1]
    assert np.flatnonzero(view["written/weights"][0]).tolist() == predicted
    assert [ids[i + 1] for i in predicted] == [*own, vocabulary.end_id]


def test_written_without_a_caption(toy):
    config, _, vocabulary = toy
    view = written_view(None, replace(layout_of(config), prompt="a red", begin_id=None), vocabulary)
    assert not view["written/weights"].any()
    assert view["written/target_mask"].sum() == 2


def test_written_and_cut(toy):
    """The end of a caption that is too long is the last token, and not predicted; a prompt may fill all there is."""
    config, _, vocabulary = toy
    view = written_view("red " * 20, replace(layout_of(config), prompt="a", begin_id=None), vocabulary)
    assert view["written/weights"].tolist() == [[0] * 1 + [1] * (LENGTH - 3) + [0] * 2]
    assert view["written/target"][0, -1] == vocabulary.end_id
    view = written_view("red", replace(layout_of(config), prompt="a " * 20, begin_id=None), vocabulary)
    assert not view["written/weights"].any()


def take(config, source, vocabulary, **keywords):
    with closing(train_batches(config, source, vocabulary, **keywords)) as batches:
        return [next(batches) for _ in range(6)]


def test_batches_hold_what_the_tasks_read(toy):
    config, source, vocabulary = toy
    views = {
        ("itc",): {"plain"}, ("caption",): {"written"}, ("wpa",): {"match"}, ("itm", "itc"): {"match", "plain"},
        ("mlm", "itc", "wpa", "caption"): {"masked", "plain", "match", "written"},
    }  # fmt: skip
    for tasks, expected in views.items():
        batch = take(only(config, *tasks), source, vocabulary)[0]
        assert {key.split("/")[0] for key in batch if "/" in key} == expected
        shapes = batch_shapes(config, vocabulary)
        assert {key: (x.shape, x.dtype) for key, x in batch.items()} == {
            key: (x.shape, x.dtype) for key, x in shapes.items()
        }
    config.tasks.itm.negatives = "hard"
    batch = take(only(config, "itm", "wpa"), source, vocabulary)[0]
    assert {key.split("/")[0] for key in batch if "/" in key} == {"plain"}


def test_records_and_captions_belong_to_their_images(toy):
    config, source, vocabulary = toy
    only(config, "itc", "caption")
    config.train.batch_size = 7  # of 5 images: some twice
    numbers = {decode_image(source[i].image, "").tobytes(): i for i in range(5)}
    batches = take(config, source, vocabulary)
    for batch in batches:
        for n in range(7):
            number = numbers[batch["image"][n].tobytes()]
            captions = source[number].captions
            assert batch["plain/record"][n] == number
            assert batch["plain/weight"][n] == bool(captions) == batch["written/weights"][n].any()
            expected = vocabulary.encode(captions[0] if captions else "", LENGTH)[0]
            np.testing.assert_array_equal(batch["plain/text"][n], expected)
            np.testing.assert_array_equal(batch["written/target"][n], expected)
    parts = [take(config, source, vocabulary, rows=rows) for rows in ([0, 1, 2], [3, 4, 5, 6])]
    for whole, *blocks in zip(batches, *parts, strict=True):
        for key, array in whole.items():
            np.testing.assert_array_equal(array, np.concatenate([block[key] for block in blocks]), err_msg=key)


def test_evaluation_counts_every_caption_once(toy):
    config, source, vocabulary = toy
    only(config, "itc", "caption", "vqa")
    with closing(eval_batches(config, source, vocabulary)) as batches:
        batches = list(batches)
    rows = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    # Images of more than two questions take several rows, the last row fills up: their captions count once.
    assert len(rows["image"]) == 8
    counted = rows["plain/record"][rows["plain/weight"] > 0]
    captioned = [number for number in range(5) if source[number].captions]
    assert counted.tolist() == captioned
    assert rows["plain/record"][rows["written/weights"].any(1)].tolist() == captioned
    assert set(rows["plain/record"].tolist()) == set(range(5))


def test_filled_rows_count_for_nothing(toy):
    config, source, vocabulary = toy
    only(config, "mlm", "itm", "itc", "wpa", "caption", "vqa")
    batch = take(config, source, vocabulary)[0]
    empty = without_weight(batch)
    changed = {key for key in batch if not np.array_equal(batch[key], empty[key])}
    assert changed == {f"{view}/weights" for view in ("masked", "written")} | {
        f"{view}/weight" for view in ("question", "match", "plain")
    }
    assert not any(empty[key].any() for key in changed)


def test_no_caption_is_refused(toy, tmp_path, write_jsonl, png):
    config, _, vocabulary = toy
    rows = [{"image": "0.png", "question": "q", "answer": "a"}]
    config.data.path = str(write_jsonl(tmp_path / "bare", rows, {"0.png": png(8, 8)}))
    only(config, "itc", "caption")
    with pytest.raises(
        UserError, match=r"captions are needed by itc and caption, but.*tasks.itc.weight=0, tasks.caption"
    ):
        next(train_batches(config, open_source(config.data, "train"), vocabulary))
