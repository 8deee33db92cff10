"""Caption metrics as the official evaluation computes them (github.com/tylin/coco-caption), from the words alone.

METEOR and SPICE are not here: they are Java programs with data of their own.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlfusion_jax.evals.ptb_tokenizer import caption_words

Words = Sequence[str]
_ORDERS = 4  # of n-grams
_ALMOST_NONE, _ALMOST_ZERO = 1e-15, 1e-9  # added to a count of matches, and to a number of words
_RECALL = 1.2  # weight of recall against precision in ROUGE-L
_SIGMA = 6.0  # of CIDEr's penalty for another length
METRICS = ("bleu1", "bleu2", "bleu3", "bleu4", "rouge_l", "cider")


@dataclass(frozen=True)
class CaptionScores:
    """Scores of captions, CIDEr from 0 to 10, the others from 0 to 1.

    Attributes:
      corpus: {metric: score of all captions}.
      items: {metric: [captions]}.
    """

    corpus: dict[str, float]
    items: dict[str, np.ndarray]


def caption_scores(captions: Sequence[str], references: Sequence[Sequence[str]]) -> CaptionScores:
    """BLEU-1 to 4, ROUGE-L and CIDEr.

    Args:
      captions: one of each image.
      references: of each image, one or more. CIDEr weighs n-grams by how many images have them in a reference: its
        scores are those of this set of images.

    Raises:
      ValueError: an image has no reference, or there are not as many of both.
    """
    if len(captions) != len(references):
        raise ValueError(f"{len(captions)} captions, but references of {len(references)} images")
    for number, texts in enumerate(references):
        if not texts:
            raise ValueError(f"image {number} has no reference")
    found = [caption_words(text) for text in captions]
    wanted = [[caption_words(text) for text in texts] for texts in references]
    bleu_corpus, bleu_items = bleu(found, wanted)
    rouge, of_cider = rouge_l(found, wanted), cider(found, wanted)
    items = {f"bleu{n + 1}": bleu_items[:, n] for n in range(_ORDERS)} | {"rouge_l": rouge, "cider": of_cider}
    corpus = {f"bleu{n + 1}": float(bleu_corpus[n]) for n in range(_ORDERS)}
    corpus |= {name: float(items[name].mean()) if len(captions) else 0.0 for name in ("rouge_l", "cider")}
    return CaptionScores(corpus, items)


def bleu(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> tuple[np.ndarray, np.ndarray]:
    """BLEU of 1 to 4 words (Papineni et al. 2002, section 2.3): of all together [4], of each [captions, 4].

    The reference's length is that nearest to the caption's, of two the shorter.
    """
    counts = np.array([_matches(*each) for each in zip(captions, references, strict=True)], float)
    counts = counts.reshape(-1, 2 * _ORDERS + 2)
    return _bleu(counts.sum(0)), np.array([_bleu(row) for row in counts]).reshape(-1, _ORDERS)


def _matches(caption: Words, references: Sequence[Words]) -> list[int]:
    """Matches of each order, n-grams of each order, words, words of the reference."""
    own, most = _ngrams(caption), Counter()
    for reference in references:
        most |= _ngrams(reference)
    right = Counter({ngram: min(count, most[ngram]) for ngram, count in own.items()})
    matched = [sum(count for ngram, count in right.items() if len(ngram) == n) for n in range(1, _ORDERS + 1)]
    possible = [max(0, len(caption) - n) for n in range(_ORDERS)]
    _, nearest = min((abs(len(each) - len(caption)), len(each)) for each in references)
    return [*matched, *possible, len(caption), nearest]


def _bleu(counts: np.ndarray) -> np.ndarray:
    matched, possible, (words, wanted) = counts[:_ORDERS], counts[_ORDERS:-2], counts[-2:]
    precision = np.cumprod((matched + _ALMOST_NONE) / (possible + _ALMOST_ZERO)) ** (1 / np.arange(1, _ORDERS + 1))
    ratio = (words + _ALMOST_NONE) / (wanted + _ALMOST_ZERO)
    return precision * (math.exp(1 - 1 / ratio) if ratio < 1 else 1.0)


def rouge_l(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> np.ndarray:
    """ROUGE-L (Lin 2004, section 3.1) of each caption: [captions].

    Precision and recall are each the best over all references.
    """
    scores = np.zeros(len(captions))
    for i, (caption, texts) in enumerate(zip(captions, references, strict=True)):
        common = [_common_subsequence(caption, reference) for reference in texts]
        precision = max(length / max(1, len(caption)) for length in common)
        recall = max(length / max(1, len(reference)) for length, reference in zip(common, texts, strict=True))
        if precision and recall:
            scores[i] = (1 + _RECALL**2) * precision * recall / (recall + _RECALL**2 * precision)
    return scores


def _common_subsequence(a: Words, b: Words) -> int:
    """Length of the longest."""
    row = [0] * (len(b) + 1)
    for word in a:
        before = row
        row = [0]
        for j, other in enumerate(b):
            row.append(before[j] + 1 if word == other else max(row[j], before[j + 1]))
    return row[-1]


def cider(captions: Sequence[Words], references: Sequence[Sequence[Words]]) -> np.ndarray:
    """CIDEr of each caption (Vedantam et al. 2015, section 3), as the official code has it: [captions].

    That is CIDEr-D's clipped product and penalty, without stemming, lengths counted in pairs of words.
    """
    images = Counter(
        ngram for texts in references for ngram in {ngram for reference in texts for ngram in _ngrams(reference)}
    )
    log_images = math.log(len(references)) if references else 0.0
    rarity = {ngram: log_images - math.log(count) for ngram, count in images.items()}
    scores = np.zeros(len(captions))
    for i, (caption, texts) in enumerate(zip(captions, references, strict=True)):
        own = _weighted(caption, rarity, log_images)
        scores[i] = 10 * np.mean([_similarity(own, _weighted(text, rarity, log_images)) for text in texts])
    return scores


def _ngrams(words: Words) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for n in range(1, _ORDERS + 1) for i in range(len(words) - n + 1))


@dataclass(frozen=True)
class _Weighted:
    """A text's n-grams: their weights and the length of these as a vector by order, and how many are pairs."""

    weights: tuple[dict[tuple[str, ...], float], ...]
    norms: tuple[float, ...]
    pairs: int


def _weighted(words: Words, rarity: dict[tuple[str, ...], float], unseen: float) -> _Weighted:
    weights = tuple({} for _ in range(_ORDERS))
    for ngram, count in _ngrams(words).items():
        weights[len(ngram) - 1][ngram] = count * rarity.get(ngram, unseen)
    norms = tuple(math.sqrt(sum(weight**2 for weight in each.values())) for each in weights)
    return _Weighted(weights, norms, max(0, len(words) - 1))


def _similarity(own: _Weighted, other: _Weighted) -> float:
    penalty = math.exp(-((own.pairs - other.pairs) ** 2) / (2 * _SIGMA**2))
    total = 0.0
    for n in range(_ORDERS):
        shared = (
            min(weight, other.weights[n][ngram]) * other.weights[n][ngram]
            for ngram, weight in own.weights[n].items()
            if ngram in other.weights[n]
        )
        total += sum(shared) / ((own.norms[n] * other.norms[n]) or 1.0)
    return penalty * total / _ORDERS
