"""Answers of people: the official normaliser, and soft scores by how many gave one (Antol et al. 2015, section 3).

The normaliser's rules, odd ones included, are those of github.com/GT-Vision-Lab/VQA, `vqaEval.py`.
"""

import re
from collections import Counter
from collections.abc import Sequence

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_DIGITS_AND_COMMA = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_MOST_PERIODS = 32  # a flag, given where the number of replacements belongs
_NUMBERS = {"none": "0", "zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
            "seven": "7", "eight": "8", "nine": "9", "ten": "10"}  # fmt: skip
_ARTICLES = {"a", "an", "the"}
# Written with one apostrophe too few, they get it back.
_SHORT = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
    he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't
    must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've
    somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's something'd
    something'd've something'll that's there'd there'd've there're there's they'd they'd've they'll they're
    they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's where'd where's where've
    who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll
    y'all'd've you'd you'd've you'll you're you've
""".split()  # noqa: SIM905
_LACKING = {
    short[:i] + short[i + 1 :]: short for short in _SHORT for i, letter in enumerate(short) if letter == "'"
} | {"somebody'd": "somebodyd"}


def normalise_answer(text: str) -> str:
    """Without punctuation and articles, numbers as digits, in lower case.

    A mark goes, or becomes a space where it stands between letters, in what is otherwise a text without `1,000`.
    """
    text = one_line(text)
    every = bool(_DIGITS_AND_COMMA.search(text))
    bare = text
    for mark in _MARKS:
        alone = every or f"{mark} " in text or f" {mark}" in text
        bare = bare.replace(mark, "" if alone else " ")
    bare = _PERIOD.sub("", bare, count=_MOST_PERIODS)
    words = (_NUMBERS.get(word, word) for word in bare.lower().split())
    return " ".join(_LACKING.get(word, word) for word in words if word not in _ARTICLES)


def one_line(text: str) -> str:
    """`text` without line breaks, tabs, and spaces at its ends."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def soft_answers(given: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """(answer, score) pairs of all annotators' answers to a question, best first, then by name.

    An answer that n of k annotators gave scores min(1, max(0.3 n, n / k)): of ten 0.3, 0.6, 0.9, 1.
    """
    counts = Counter(given)
    ranked = sorted(counts, key=lambda answer: (-counts[answer], answer))
    return tuple((answer, _score(counts[answer], len(given))) for answer in ranked)


def _score(given: int, annotators: int) -> float:
    return min(1.0, max(3 * given / 10, given / annotators))
