"""Negatives: exactly half, evenly placed, captions that differ."""

from collections import Counter

import numpy as np
import pytest

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.matching import check_captions_differ, choose_negatives, foreign_caption
from vlfusion_jax.data.records import EncodedImage, Question, Record


class Captions:
    """A source of captions alone."""

    def __init__(self, *captions: tuple[str, ...]):
        self.captions = captions

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, index: int) -> Record:
        return Record((EncodedImage(b"", str(index)),), self.captions[index], ())

    def text_of(self, index: int) -> tuple[tuple[str, ...], tuple[Question, ...]]:
        return self.captions[index], ()

    def texts(self):
        return (text for captions in self.captions for text in captions)


@pytest.mark.parametrize("count", [1, 2, 5, 8, 33])
def test_exactly_half_rounded_down_of_all_alike(count):
    numbers = range(100, 100 + 3 * count, 3)
    draws = [choose_negatives(numbers, np.random.default_rng(seed)) for seed in range(600)]
    assert {len(draw) for draw in draws} == {count // 2}
    drawn = Counter(number for draw in draws for number in draw)
    assert drawn.keys() <= set(numbers)
    share = (count // 2) / count
    shares = [drawn[number] / 600 for number in numbers]
    np.testing.assert_allclose(shares, share, atol=5 * np.sqrt(share * (1 - share) / 600))


def test_no_captioned_row_no_negative():
    assert choose_negatives([], np.random.default_rng(0)) == frozenset()


def test_foreign_captions_differ_and_vary():
    source = Captions(("a",), ("b", "c"), (), ("a",), ("d",))
    rng = np.random.default_rng(0)
    drawn = Counter(foreign_caption(source, ("a",), str.encode, rng) for _ in range(300))
    assert drawn.keys() == {"b", "c", "d"}
    assert min(drawn.values()) > 30
    assert {foreign_caption(source, ("b", "c"), str.encode, rng) for _ in range(100)} == {"a", "d"}


def test_the_only_other_caption_is_found():
    source = Captions(*[("same",)] * 5000, ("other",), *[("same",)] * 200)
    for seed in range(5):
        assert foreign_caption(source, ("same",), str.encode, np.random.default_rng(seed)) == "other"


def read(caption: str) -> bytes:
    """What is left of a caption without capitals and cut at four letters."""
    return caption.lower()[:4].encode()


def test_captions_that_read_the_same_are_not_foreign():
    source = Captions(("Some cat",), ("some dog", "other"), ("SOME",))
    assert {foreign_caption(source, ("some bird",), read, np.random.default_rng(seed)) for seed in range(50)} == {
        "other"
    }
    with pytest.raises(UserError, match=r"no image has another than 'some bird'.*raise data.caption_length"):
        foreign_caption(Captions(("Some cat",), ("some dog",)), ("some bird",), read, np.random.default_rng(0))
    with pytest.raises(UserError, match=r"none differs from 'Some cat'.*raise data.caption_length"):
        check_captions_differ(Captions(("Some cat",), ("some dog",)), read)
    check_captions_differ(Captions(("Some cat",), ("some dog",), ("other",)), read)


def test_no_other_caption_is_refused():
    for captions in ([("same",)] * 3, [("one", "two"), (), ("two", "one")], [("alone",)]):
        with pytest.raises(UserError, match="task itm needs"):
            check_captions_differ(Captions(*captions), str.encode)
    with pytest.raises(UserError, match=r"no image has another than 'same'"):
        foreign_caption(Captions(*[("same",)] * 3), ("same",), str.encode, np.random.default_rng(0))
    check_captions_differ(Captions(("same",), (), ("other",)), str.encode)
    # One image has every caption there is: none is foreign to it.
    with pytest.raises(UserError, match="none differs from 'a cat'"):
        check_captions_differ(Captions(("a cat", "cat"), ("cat",), ("a cat",)), str.encode)
    check_captions_differ(Captions(("a cat", "cat"), ("cat",), ("a dog",)), str.encode)
