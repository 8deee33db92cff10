"""Negatives: exactly half, evenly placed, captions that differ."""

from collections import Counter

import numpy as np
import pytest

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.matching import check_captions_differ, choose_negatives, foreign_caption
from vlfusion_jax.data.records import Question, Record


class Captions:
    """A source of captions alone."""

    def __init__(self, *captions: tuple[str, ...]):
        self.captions = captions

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> Record:
        return Record(b"", str(index), self.captions[index], ())

    def text_of(self, index: int) -> tuple[tuple[str, ...], tuple[Question, ...]]:
        return self.captions[index], ()

    def texts(self):
        return (text for captions in self.captions for text in captions)


@pytest.mark.parametrize("rows", [1, 2, 5, 8, 33])
def test_exactly_half_rounded_down_at_every_place(rows):
    draws = np.stack([choose_negatives(rows, np.random.default_rng(seed)) for seed in range(600)])
    assert (draws.sum(axis=1) == rows // 2).all()
    share = (rows // 2) / rows
    np.testing.assert_allclose(draws.mean(axis=0), share, atol=5 * np.sqrt(share * (1 - share) / 600))


def test_foreign_captions_differ_and_vary():
    source = Captions(("a",), ("b", "c"), (), ("a",), ("d",))
    rng = np.random.default_rng(0)
    drawn = Counter(foreign_caption(source, ("a",), rng) for _ in range(300))
    assert drawn.keys() == {"b", "c", "d"}
    assert min(drawn.values()) > 30
    assert {foreign_caption(source, ("b", "c"), rng) for _ in range(100)} == {"a", "d"}


def test_the_only_other_caption_is_found():
    source = Captions(*[("same",)] * 5000, ("other",), *[("same",)] * 200)
    for seed in range(5):
        assert foreign_caption(source, ("same",), np.random.default_rng(seed)) == "other"


def test_no_other_caption_is_refused():
    for captions in ([("same",)] * 3, [("one", "two"), (), ("two", "one")], [("alone",)]):
        with pytest.raises(UserError, match="task itm needs"):
            check_captions_differ(Captions(*captions))
    with pytest.raises(UserError, match=r"no image has another than 'same'"):
        foreign_caption(Captions(*[("same",)] * 3), ("same",), np.random.default_rng(0))
    check_captions_differ(Captions(("same",), (), ("other",)))
