"""What a model reaches that reads the question and never sees the image."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from vlfusion_jax.data.records import Question, Source


def blind_accuracy(train: Source, test: Source, images: int = 0) -> dict[str, float]:
    """Accuracy of the most frequent training answer to each question text, on the questions of `test`.

    A text that training does not have gets the most frequent answer of all; scores of soft answers count as parts of
    an answer; ties go to the answer met first.

    Args:
      train: split to count on.
      test: split to answer.
      images: answer for the first so many images; 0 = all.

    Returns:
      `accuracy_blind`, and `accuracy_blind_<kind>` for every kind of question; empty where there is no question.
    """
    by_text: dict[str, Counter[str]] = defaultdict(Counter)
    overall: Counter[str] = Counter()
    for question in _questions(train, len(train)):
        for answer, score in question.answers:
            by_text[question.text][answer] += score
            overall[answer] += score
    if not overall:
        return {}
    best = {text: counts.most_common(1)[0][0] for text, counts in by_text.items()}
    fallback = overall.most_common(1)[0][0]

    scores: dict[str, list[float]] = defaultdict(list)
    for question in _questions(test, min(images or len(test), len(test))):
        score = dict(question.answers).get(best.get(question.text, fallback), 0.0)
        for name in ("accuracy_blind", *([f"accuracy_blind_{question.kind}"] if question.kind else [])):
            scores[name].append(score)
    return {name: sum(values) / len(values) for name, values in scores.items()}


def _questions(source: Source, images: int) -> Iterator[Question]:
    for number in range(images):
        yield from source.text_of(number)[1]
