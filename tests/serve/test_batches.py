"""Many pictures at once give what each gives alone; what is wrong with a line is said of that line."""

import json

import numpy as np
import pytest
from PIL import Image

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.records import EncodedImage, Question, Record
from vlfusion_jax.serve.batches import answer_split, caption_images, predict_lines, read_lines

QUESTIONS = ("what", "what colour is that snowfall", "is that a red thing", "is " * 12, "what colour")


@pytest.fixture
def folder(tmp_path):
    """Five pictures of several shapes, and a file that is none."""
    rng = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(rng.integers(256, size=(20 + 9 * i, 40, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


def written(folder, rows):
    file = folder / "items.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return read_lines(file)


def test_questions_of_all_lengths_are_answered_in_order(make_model, folder):
    model = make_model("cross_attention", heads=(names.VQA, names.ITM))
    rows = [{"image": f"{i % 5}.png", "question": QUESTIONS[i % 4], "id": i} for i in range(7)]
    rows.insert(3, {"image": "2.png", "texts": ["a red thing", "that snowfall", "green"]})
    found = predict_lines(model, written(folder, rows), folder, top=2, size=3)
    assert [each["line"] for each in found] == list(range(1, 9))
    for given, result in zip(rows, found, strict=True):
        assert result.items() >= given.items()
        picture = folder / given["image"]
        if "texts" in given:
            np.testing.assert_allclose(result["scores"], model.score(picture, given["texts"]), rtol=1e-6)
            continue
        alone = model.answer(picture, given["question"], top=2)
        assert [each["text"] for each in result["answers"]] == [each.text for each in alone]
        np.testing.assert_allclose([a["probability"] for a in result["answers"]], [a.probability for a in alone], 1e-5)
        assert (result["answer"], result["probability"]) == tuple(result["answers"][0].values())


def test_pictures_are_captioned(make_model, folder):
    model = make_model("blip", heads=(names.CAPTION,), model__patch_size=8, model__begin_id=2, model__end_id=3)
    rows = [{"image": f"{i}.png"} for i in range(5)]
    found = predict_lines(model, written(folder, rows), folder, top=1, size=2)
    assert [each["caption"] for each in found] == [model.caption(folder / row["image"]) for row in rows]


def test_every_fault_is_named_and_the_rest_predicted(make_model, folder):
    model = make_model("single_stream")
    good = {"image": "0.png", "question": "what"}
    faults = {
        '{"image": "0.png", "question"': "is no JSON",
        "[1]": "is no object but list",
        '{"question": "what"}': "has no 'image'",
        '{"image": 3, "question": "what"}': "'image' is not a text",
        '{"image": "0.png", "question": " "}': "'question' is not a text",
        '{"image": "0.png", "question": "what", "texts": ["a"]}': "has both 'question' and 'texts'",
        '{"image": "0.png", "texts": []}': "'texts' is not a list of texts",
        '{"image": "0.png", "texts": "a"}': "'texts' is not a list of texts",
        '{"image": "9.png", "question": "what"}': "9.png cannot be read (No such file or directory)",
        '{"image": "text.png", "question": "what"}': "text.png' cannot be decoded",
        '{"image": "0.png"}': "writes no captions",
        '{"image": "0.png", "texts": ["a"]}': "does not judge pairs",
    }
    lines = written(folder, [good, "", *faults, good])
    found = predict_lines(model, lines, folder, top=1, size=4)
    assert [each["line"] for each in found] == [1, *range(3, 4 + len(faults))]  # as in the file, blank lines counted
    assert "error" not in found[0] | found[-1]
    assert found[0]["answer"] == found[-1]["answer"] == model.answer(folder / "0.png", "what")[0].text
    for message, result in zip(faults.values(), found[1:-1], strict=True):
        assert message in result["error"]
        assert "answer" not in result


def test_a_file_without_lines_is_refused(folder):
    with pytest.raises(UserError, match="is empty"):
        written(folder, ["", " "])
    with pytest.raises(UserError, match=r"nowhere\.jsonl: cannot be read: No such file"):
        read_lines(folder / "nowhere.jsonl")


class Split(list):
    """A source held in memory."""

    images_per_record = 1

    def text_of(self, index):
        return self[index].captions, self[index].questions


def split(folder, ids=True):
    def question(i, k):
        return Question(QUESTIONS[(i + k) % 5], (), id=f"{10 * i + k}" if ids else "")

    def record(i):
        shown = EncodedImage((folder / f"{i}.png").read_bytes(), f"{i}.png")
        return Record((shown,), (), tuple(question(i, k) for k in range(i % 3)))

    return Split(map(record, range(5)))


def test_every_question_of_a_split_is_answered_and_every_image_captioned(make_model, folder):
    source, model = split(folder), make_model("cross_attention")
    ids, answers = answer_split(model, source, 4)
    assert ids == ["10", "20", "21", "40"]
    asked = [(folder / f"{int(key) // 10}.png", QUESTIONS[(int(key) // 10 + int(key) % 10) % 5]) for key in ids]
    assert answers == [model.answer(*each)[0].text for each in asked]
    with pytest.raises(UserError, match="do not say the ids of their questions"):
        answer_split(model, split(folder, ids=False), 4)
    with pytest.raises(UserError, match="no questions"):
        answer_split(model, Split(source[:1]), 4)
    pairs = Split(source)
    pairs.images_per_record = 2
    with pytest.raises(UserError, match="pairs of images"):
        answer_split(model, pairs, 4)
    writer = make_model("blip", heads=(names.CAPTION,), model__patch_size=8, model__begin_id=2, model__end_id=3)
    expected = [(f"{i}.png", writer.caption(folder / f"{i}.png")) for i in range(5)]
    assert caption_images(writer, source, 3) == expected
