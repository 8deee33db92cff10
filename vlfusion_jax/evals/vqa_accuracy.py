"""The accuracy of visual question answering, as its authors' evaluation computes it (Antol et al. 2015, section 3).

The rules, odd ones included, are those of github.com/GT-Vision-Lab/VQA, `vqaEval.py`: published numbers follow them.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vlfusion_jax.data.answers import normalise_answer, one_line


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


def answer_accuracy(prediction: str, answers: Sequence[str]) -> float:
    """Share of right, 0 to 1: the mean over all answers but one, of min(1, equal ones / 3).

    Where people agree the texts are compared as they are; otherwise both are normalised.

    Raises:
      ValueError: there are no two answers to compare with.
    """
    if len(answers) < 2:
        raise ValueError(f"the accuracy leaves one answer out of several, here of {len(answers)}")
    prediction, answers = one_line(prediction), [one_line(answer) for answer in answers]
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
