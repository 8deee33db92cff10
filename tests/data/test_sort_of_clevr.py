"""Sort-of-CLEVR answers, recomputed from the decoded pixels; the published sizes; building and reopening offline."""

import io
import re
import socket
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.sort_of_clevr import make_example
from vlfusion_jax.data.sort_of_clevr_builder import SortOfClevr, SortOfClevrConfig
from vlfusion_jax.data.source import open_source

RGB = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "orange": (255, 156, 0),
    "grey": (128, 128, 128),
    "yellow": (255, 255, 0),
}


def look(png: bytes) -> dict[str, tuple[float, float, str]]:
    """Colour -> (x, y, shape) seen in the pixels: a square of 11 pixels has area 121, a circle of radius 5 less."""
    pixels = np.asarray(Image.open(io.BytesIO(png)))
    assert pixels.shape == (75, 75, 3)
    objects, seen = {}, (pixels == 255).all(-1)
    for color, rgb in RGB.items():
        here = (pixels == rgb).all(-1)
        seen |= here
        y, x = np.nonzero(here)
        assert y.max() - y.min() == x.max() - x.min() == 10, "hidden or cut by the edge"
        assert len(y) in (121, 81)
        objects[color] = (x.mean(), y.mean(), "square" if len(y) == 121 else "circle")
    assert seen.all(), "a pixel of no colour"
    return objects


def answer(text: str, objects: dict[str, tuple[float, float, str]]) -> str:
    """Answer a question by looking, without the generator."""
    (color,) = [color for color in RGB if re.search(rf"\b{color}\b", text)]
    x, y, shape = objects[color]
    distance = {c: np.hypot(x - ox, y - oy) for c, (ox, oy, _) in objects.items() if c != color}
    if "closest" in text:
        return objects[min(distance, key=distance.get)][2]
    if "furthest" in text:
        return objects[max(distance, key=distance.get)][2]
    if text.startswith("how many"):
        return str(sum(other == shape for _, _, other in objects.values()))
    if "on the left" in text:
        return "yes" if x < 37.5 else "no"
    if "at the top" in text:
        return "yes" if y < 37.5 else "no"
    assert text == f"what shape is the {color} object?"
    return shape


def test_answers_and_captions_agree_with_the_pixels():
    texts, answers = Counter(), Counter()
    for index in range(60):
        png, caption, questions = make_example(3, 0, index)
        objects = look(png)
        assert Counter(q.kind for q in questions) == {"relational": 10, "non_relational": 10}
        for question in questions:
            relational = bool(re.search("closest|furthest|how many", question.text))
            assert question.kind == ("relational" if relational else "non_relational")
            assert question.answers == ((answer(question.text, objects), 1.0),), question.text
            texts[question.text] += 1
            answers[question.answers[0][0]] += 1
        said = {phrase.split(" ")[0]: phrase.split(" ")[1:] for phrase in caption.split(", ")}
        assert said.keys() == objects.keys()
        for color, (x, y, shape) in objects.items():
            place = (("top", "middle", "bottom")[int(y // 25)], ("left", "center", "right")[int(x // 25)])
            assert said[color] == [shape, *place]
    assert len(texts) == 36, "six colours times six templates"
    assert answers.keys() >= {"square", "circle", "yes", "no", "2", "3", "4", "5"}


def test_scenes_are_a_function_of_seed_split_and_number():
    assert make_example(0, 0, 7) == make_example(0, 0, 7)
    different = [make_example(*arguments)[0] for arguments in ((0, 0, 7), (1, 0, 7), (0, 1, 7), (0, 0, 8), (0, 0, 0))]
    assert len(set(different)) == 5


def test_published_sizes_are_the_default():
    assert SortOfClevrConfig().images == {"train": 9800, "test": 200}


def test_built_once_without_network(clevr_config, tmp_path, monkeypatch, capsys):
    def refuse(*arguments, **keywords):
        raise AssertionError("network touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    config = clevr_config
    config.data.source, config.data.path = "sort_of_clevr:6,3", str(tmp_path)
    train, test = open_source(config.data, "train"), open_source(config.data, "test")
    assert (len(train), len(test)) == (6, 3)
    for number, source in enumerate((train, test)):
        for index in range(len(source)):
            record = source[index]
            assert (record.image, record.captions[0], record.questions) == make_example(0, number, index)
            assert source.text_of(index) == (record.captions, record.questions)
    assert next(test.texts()) == test[0].captions[0]
    assert len(list(test.texts())) == 3 * 21
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "drawing sort_of_clevr train" in printed.err

    monkeypatch.setattr(SortOfClevr, "_generate_examples", refuse)
    assert len(open_source(config.data, "train")) == 6
    assert capsys.readouterr().err == ""


def test_interrupted_build_leaves_nothing_that_looks_finished(clevr_config, tmp_path, monkeypatch):
    config = clevr_config
    config.data.source, config.data.path = "sort_of_clevr:6,3", str(tmp_path)

    def interrupted(self, number, split):
        yield next(generate(self, number, split))
        raise KeyboardInterrupt

    generate = SortOfClevr._generate_examples
    with monkeypatch.context() as patch:
        patch.setattr(SortOfClevr, "_generate_examples", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_source(config.data, "train")
    assert len(open_source(config.data, "train")) == 6


@pytest.mark.parametrize(
    ("source", "split", "message"),
    [
        ("sort_of_clevr:6", "train", "two positive numbers"),
        ("sort_of_clevr:6,many", "train", "two positive numbers"),
        ("sort_of_clevr:6,0", "train", "two positive numbers"),
        ("sort_of_clevr", "val", "no split 'val'"),
        ("clevr", "train", "data.source 'clevr' is unknown"),
    ],
)
def test_refused(clevr_config, tmp_path, source, split, message):
    clevr_config.data.source, clevr_config.data.path = source, str(tmp_path)
    with pytest.raises(UserError, match=message):
        open_source(clevr_config.data, split)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_folder_is_named(clevr_config, tmp_path):
    (tmp_path / "file").write_text("")
    clevr_config.data.path = str(tmp_path / "file" / "below")
    with pytest.raises(UserError, match=r"data.path .*below"):
        open_source(clevr_config.data, "train")
