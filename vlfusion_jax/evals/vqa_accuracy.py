"""The accuracy of visual question answering, as its authors' evaluation computes it (Antol et al. 2015, section 3).

The rules, odd ones included, are those of github.com/GT-Vision-Lab/VQA, `vqaEval.py`: published numbers follow them.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Answered:
    """A question, what people answered, and what a model did.

    Attributes:
      prediction: of the model.
      answers: of people, ten in VQA.
      kinds: that the question counts in besides, such as its answer's type.
    """

    prediction: str
    answers: tuple[str, ...]
    kinds: tuple[str, ...] = ()


def normalise_answer(text: str) -> str:
    """Without punctuation and articles, numbers as digits, in lower case.

    A mark goes, or becomes a space where it stands between letters, in what is otherwise a text without `1,000`.
    """
    text = _stripped(text)
    every = bool(_DIGITS_AND_COMMA.search(text))
    bare = text
    for mark in _MARKS:
        alone = every or f"{mark} " in text or f" {mark}" in text
        bare = bare.replace(mark, "" if alone else " ")
    bare = _PERIOD.sub("", bare, count=_MOST_PERIODS)
    words = (_NUMBERS.get(word, word) for word in bare.lower().split())
    return " ".join(_LACKING.get(word, word) for word in words if word not in _ARTICLES)


def _stripped(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def answer_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Share of right, 0 to 1: the mean over all answers but one, of min(1, equal ones / 3).

    Where people agree the texts are compared as they are; otherwise both are normalised.

    Raises:
      ValueError: there are no two answers to compare with.
    """
    if len(answers) < 2:
        raise ValueError(f"the accuracy leaves one answer out of several, here of {len(answers)}")
    prediction, answers = _stripped(prediction), [_stripped(answer) for answer in answers]
    if len(set(answers)) > 1:
        prediction, answers = normalise_answer(prediction), [normalise_answer(answer) for answer in answers]
    equal = [answer == prediction for answer in answers]
    return sum(min(1.0, (sum(equal) - same) / 3) for same in equal) / len(answers)


def vqa_accuracy(answered: Iterable[Answered]) -> dict[str, float]:
    """Means over questions: `accuracy`, and `accuracy_<kind>` for each of their kinds; empty without questions."""
    scores: dict[str, list[float]] = defaultdict(list)
    for each in answered:
        score = answer_accuracy(each.prediction, each.answers)
        for name in ("accuracy", *(f"accuracy_{kind}" for kind in each.kinds)):
            scores[name].append(score)
    return {name: sum(values) / len(values) for name, values in scores.items()}
