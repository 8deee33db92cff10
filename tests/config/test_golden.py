"""Every shipped config, resolved, equals its golden text, so that a changed default shows in review."""

import pytest

from tests.config.write_golden import FOLDER, golden_texts

TEXTS = golden_texts()


def test_there_is_a_golden_text_for_each_config():
    assert {path.name for path in FOLDER.iterdir()} == set(TEXTS)


@pytest.mark.parametrize("name", TEXTS)
def test_golden(name):
    assert TEXTS[name] == (FOLDER / name).read_text(), "if wanted: python -m tests.config.write_golden"
