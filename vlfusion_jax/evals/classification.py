"""What a classifier takes for what, and statements that are right on every image."""

from collections.abc import Hashable, Sequence

import numpy as np

from vlfusion_jax.core.columns import aligned


def confusion_matrix(labels: Sequence[int], predictions: Sequence[int], classes: int) -> np.ndarray:
    """[classes, classes] int64: how many of each class (rows) were taken for each (columns).

    Raises:
      ValueError: not as many of both, or a number that is no class.
    """
    labels, predictions = np.asarray(labels, np.int64), np.asarray(predictions, np.int64)
    if labels.shape != predictions.shape or labels.ndim != 1:
        raise ValueError(f"labels {labels.shape} and predictions {predictions.shape} are not one for one")
    for name, values in (("label", labels), ("prediction", predictions)):
        if len(values) and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(f"a {name} is none of the {classes} classes")
    return np.bincount(labels * classes + predictions, minlength=classes**2).reshape(classes, classes)


def class_scores(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """`precision`, `recall`, `F1` (f64) and `support` (int64) of each class, all [classes]; what is 0 of 0 is 0.

    Args:
      matrix: of `confusion_matrix`.
    """
    right, support, taken = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return {
        "precision": right / np.maximum(taken, 1),
        "recall": right / np.maximum(support, 1),
        "F1": 2 * right / np.maximum(support + taken, 1),
        "support": support,
    }


def class_report(matrix: np.ndarray, names: Sequence[str]) -> str:
    """`class_scores` as a table.

    Args:
      matrix: of `confusion_matrix`.
      names: of the classes.
    """
    scores = class_scores(matrix)
    rows = [("class", *scores)]
    for name, *shares, support in zip(names, *scores.values(), strict=True):
        rows.append((name, *(f"{100 * share:.1f} %" for share in shares), f"{support:,}"))
    return "\n".join(aligned(rows))


def statement_scores(statements: Sequence[Hashable], right: Sequence[bool]) -> dict[str, float]:
    """Of statements on several images each (Suhr et al. 2017, section 5): `accuracy` over images, and `consistency`.

    Args:
      statements: which one, for each judgement.
      right: whether it was right.

    Returns:
      `accuracy`, the share of right judgements, and `consistency`, that of statements right on every image; empty
      where there is none.
    """
    whole: dict[Hashable, bool] = {}
    for statement, each in zip(statements, right, strict=True):
        whole[statement] = whole.get(statement, True) and bool(each)
    if not whole:
        return {}
    return {"accuracy": float(np.mean(right)), "consistency": float(np.mean([*whole.values()]))}
