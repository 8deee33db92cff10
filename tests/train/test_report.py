import numpy as np
from PIL import Image

from vlfusion_jax.train.report import RIGHT, WRONG, Answered, draw_answers, draw_curves, smooth


def colours(path):
    with Image.open(path) as image:
        return set(map(tuple, np.asarray(image.convert("RGB")).reshape(-1, 3).tolist()))


def size(path):
    with Image.open(path) as image:
        return image.size


def rgb(text):
    return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))


def test_smooth_is_a_centred_mean():
    values = np.random.default_rng(0).normal(size=200)
    expected = [values[max(i - 5, 0) : i + 6].mean() for i in range(200)]
    np.testing.assert_allclose(smooth(values), expected, atol=1e-12)
    np.testing.assert_allclose(smooth(values[:30]), values[:30], atol=1e-12)
    assert smooth(np.zeros(0)).shape == (0,)


def test_curves_take_what_there_is(tmp_path):
    lines = [{"step": s, "loss": 1 / s, "lr": 0.1, "accuracy": None if s == 2 else 0.5} for s in range(1, 5)]
    draw_curves(lines, tmp_path / "few.png")
    full = [{**line, "mlm_loss": 1.0, "vqa_loss": 2.0, "grad_norm": 1.0} for line in lines]
    draw_curves([*full, {"step": 4, "eval/accuracy": 0.75, "eval/itm_accuracy": 0.5}], tmp_path / "full.png")
    assert size(tmp_path / "few.png") == (1500, 360)  # three panels
    assert size(tmp_path / "full.png") == (1500, 720)  # five


def answered(correct):
    return Answered(np.full((20, 30, 3), 200, np.uint8), "What colour is it?", "red", 0.7, "blue", correct)


def test_texts_are_shown_as_they_are(tmp_path):
    kinds = [{"step": 1, "loss": 1.0, "eval/accuracy": 0.5, "eval/accuracy_$\\foo$": 0.5}]
    draw_curves(kinds, tmp_path / "curves.png")
    item = Answered(np.zeros((20, 30, 3), np.uint8), "Is it $\\foo$?", "$\\foo$", 0.7, "$5 or $6", False)
    draw_answers([item], tmp_path / "answers.png")
    assert size(tmp_path / "answers.png") == (290, 370)


def test_right_answers_are_green_and_wrong_ones_red(tmp_path):
    for name, items in {"right": [answered(True)], "wrong": [answered(False)] * 5}.items():
        draw_answers(items, tmp_path / f"{name}.png")
    right, wrong = colours(tmp_path / "right.png"), colours(tmp_path / "wrong.png")
    assert (rgb(RIGHT) in right, rgb(WRONG) in right) == (True, False)
    assert (rgb(RIGHT) in wrong, rgb(WRONG) in wrong) == (False, True)
