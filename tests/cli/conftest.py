"""A small set of one's own images and text."""

import json

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    """Three images with two questions and a caption each, in both splits."""
    (tmp_path / "images").mkdir()
    rows = []
    for number, color in enumerate(("red", "green", "blue")):
        pixels = np.zeros((20, 30, 3), np.uint8)
        pixels[..., number] = 255
        Image.fromarray(pixels).save(tmp_path / "images" / f"{color}.png")
        rows += [
            {"image": f"{color}.png", "caption": f"it is {color}"},
            {"image": f"{color}.png", "question": "which color is it", "answer": color, "kind": "color"},
            {"image": f"{color}.png", "question": f"is it {color}", "answer": "yes", "kind": "yes_no"},
        ]
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path
