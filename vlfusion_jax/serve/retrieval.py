"""Retrieval in two stages: a shortlist by similarity, put in order by the matching head (ALBEF, Li et al. 2021,
section 6.1: "Align before Fuse"); and every pair by the matching head, to compare.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.evals.retrieval import DEPTHS, recall_at
from vlfusion_jax.serve.scorer import Arrays, Encoded, Scorer

SHORTLIST = 32
SIMILARITY, RERANKED, EXACT = "similarity", "re-ranked", "exact"


@dataclass(frozen=True)
class Ranking:
    """Scores of images and texts, -inf where a pair was left out: higher = comes first.

    Attributes:
      name: `similarity`, `re-ranked` or `exact`.
      text_to_image, image_to_text: [images, texts] f32, as texts rank images and images rank texts.
      pairs: that the model's fusion layers ran on.
      seconds: without compilation.
    """

    name: str
    text_to_image: np.ndarray
    image_to_text: np.ndarray
    pairs: int
    seconds: float

    def recall(self, image_of_text: np.ndarray, depths: Sequence[int] = DEPTHS) -> dict[str, float]:
        """`text_to_image_r1` … `image_to_text_r10`; see `evals.retrieval`."""
        return recall_at(self.text_to_image, self.image_to_text, image_of_text, depths)


def rank(
    scorer: Scorer,
    images: Arrays,
    texts: Arrays,
    shortlist: int | None = None,
    exact: bool = False,
    add_similarity: bool = False,
) -> list[Ranking]:
    """Rankings of all images and texts by each other, in the order of their cost.

    Args:
      scorer: see `Scorer`.
      images, texts: inputs of the model, a row each.
      shortlist: how many of the most similar each image and each text has judged by the matching head; None = 32,
        where the model has similarity and such a head.
      exact: also judge every pair. It is the only ranking of a model without similarity.
      add_similarity: to what the matching head says, add the cosine. ALBEF does so, to the logit of a match; here it
        is the log-odds. The default is the log-odds alone.

    Returns:
      Those that there are of `similarity`, `re-ranked` and `exact`.

    Raises:
      UserError: the model lacks what is asked of it.
    """
    check_able(scorer, shortlist)
    if (exact or add_similarity) and scorer.matching is None:
        raise UserError("this model has no head that judges pairs ('itm'): it ranks by similarity alone.")
    if add_similarity and not scorer.compares:
        raise UserError("this model has no similarity to add (head 'contrastive').")
    for_pairs, sides = scorer.matching is not None, {names.IMAGE: images, names.TEXT: texts}

    def encode(rows: slice) -> list[Encoded]:
        return [scorer.encode(side, take(inputs, rows), for_pairs) for side, inputs in sides.items()]

    encode(slice(scorer.batch_size))  # compiles
    start = time.perf_counter()
    seen, read = encode(slice(None))
    rankings, judged = [], []
    cosines = np.zeros((seen.rows, read.rows), np.float32)
    if scorer.compares:
        cosines = seen.vectors @ read.vectors.T
        rankings.append(Ranking(SIMILARITY, cosines, cosines, 0, time.perf_counter() - start))
        if for_pairs:
            judged.append((RERANKED, *shortlists(cosines, shortlist or SHORTLIST)))
    if exact or not scorer.compares:
        every = np.ones(cosines.shape, bool)
        judged.append((EXACT, every, every))
    for name, *chosen in judged:
        rankings.append(_judged(scorer, name, seen, read, chosen, cosines if add_similarity else np.float32(0)))
    return rankings


def _judged(
    scorer: Scorer, name: str, images: Encoded, texts: Encoded, chosen: Sequence[np.ndarray], more: np.ndarray
) -> Ranking:
    """Ranking of the pairs that texts, and images, have `chosen` [images, texts] bool; `more` is added to scores."""
    pairs = np.argwhere(chosen[0] | chosen[1])
    scorer.judge(images, texts, pairs[: scorer.batch_size])  # compiles
    start = time.perf_counter()
    scores = np.full(chosen[0].shape, -np.inf, np.float32)
    scores[tuple(pairs.T)] = scorer.judge(images, texts, pairs)
    seconds = time.perf_counter() - start
    return Ranking(name, *(np.where(each, scores + more, -np.inf) for each in chosen), len(pairs), seconds)


def shortlists(similarity: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Which images each text, and which texts each image, has among its `size` most similar: [images, texts] bool each.

    Of equal ones the first go first.
    """
    found = []
    for axis in (0, 1):
        chosen = np.zeros(similarity.shape, bool)
        order = np.argsort(-similarity, axis=axis, kind="stable")
        np.put_along_axis(chosen, np.split(order, [size], axis)[0], True, axis)
        found.append(chosen)
    return found[0], found[1]


class Found(NamedTuple):
    """One of the images or texts that were searched: its number, and its score.

    The score is the probability of a match of a model with a head `itm`; the logit of one with a head `retrieval`; the
    cosine of one that has similarity alone.
    """

    number: int
    score: float


def search(scorer: Scorer, images: Arrays, texts: Arrays, top: int = 5, shortlist: int | None = None) -> list[Found]:
    """The `top` images for one text, or texts for one image, best first.

    Args:
      scorer: see `Scorer`.
      images, texts: inputs; one of both has one row.
      top: how many.
      shortlist: of how many the matching head judges, see `rank`; more are never found.

    Raises:
      UserError: the model lacks what is asked of it.
    """
    check_able(scorer, shortlist)
    searched = names.IMAGE if _rows(texts) == 1 else names.TEXT
    sides = {names.IMAGE: images, names.TEXT: texts}
    left = np.arange(_rows(sides[searched]))
    if scorer.compares:
        seen, read = (scorer.encode(side, inputs, for_pairs=False) for side, inputs in sides.items())
        scores = (seen.vectors @ read.vectors.T).reshape(-1)
    if scorer.matching is not None:
        if scorer.compares:
            left = best(scores, shortlist or SHORTLIST)
        sides[searched] = take(sides[searched], left)
        encoded = [scorer.encode(side, inputs) for side, inputs in sides.items()]
        scores = scorer.judge(*encoded, every_pair(*(each.rows for each in encoded)))
        scores = probabilities(scores) if scorer.matching == names.ITM else scores
    return [Found(int(left[i]), float(scores[i])) for i in best(scores, top)]


def matching_shares(scorer: Scorer, images: Arrays, texts: Arrays) -> np.ndarray:
    """[texts] f64, how well each text fits the one image: the probability of a match by the head `itm`; where there is
    a head `retrieval` alone, which tells one right text from wrong ones, the softmax over the texts.

    Raises:
      UserError: the model has neither head.
    """
    scorer.check_judges()
    encoded = scorer.encode(names.IMAGE, images), scorer.encode(names.TEXT, texts)
    scores = scorer.judge(*encoded, every_pair(1, encoded[1].rows)).astype(np.float64)
    if scorer.matching == names.ITM:
        return probabilities(scores)
    shares = np.exp(scores - scores.max())
    return shares / shares.sum()


def check_able(scorer: Scorer, shortlist: int | None) -> None:
    """Raise UserError unless a model ranks at all, and can shortlist so many where it is asked to."""
    if not scorer.compares:
        scorer.check_judges()
    if shortlist is None:
        return
    if shortlist < 1:
        raise UserError(f"shortlist is {shortlist}; it must be at least 1.")
    if not scorer.compares:
        raise UserError(
            "this model has no similarity of images and texts to shortlist by (head 'contrastive'): leave the "
            "shortlist out, and it judges every pair."
        )
    if scorer.matching is None:
        raise UserError(
            "this model has no head that judges the pairs of a shortlist ('itm'): leave the shortlist out, and it "
            "ranks by similarity."
        )


def probabilities(log_odds: np.ndarray) -> np.ndarray:
    """Probabilities of log-odds, f64."""
    return 1 / (1 + np.exp(-np.asarray(log_odds, np.float64)))


def best(scores: np.ndarray, count: int) -> np.ndarray:
    """Numbers of the highest of `scores` [n], best first; of equal ones the first goes first."""
    return np.argsort(-scores, kind="stable")[:count]


def every_pair(images: int, texts: int) -> np.ndarray:
    """[images * texts, 2] numbers of an image and a text, by image."""
    return np.argwhere(np.ones((images, texts), bool))


def take(inputs: Arrays, rows: slice | np.ndarray) -> Arrays:
    """Some rows of every array."""
    return {name: array[rows] for name, array in inputs.items()}


def _rows(inputs: Arrays) -> int:
    return len(next(iter(inputs.values())))
