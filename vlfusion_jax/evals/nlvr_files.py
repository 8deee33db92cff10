"""Judgements and labels in the files of the official evaluation of NLVR2."""

from collections.abc import Mapping
from pathlib import Path

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.files import written_whole
from vlfusion_jax.core.json_entries import json_lines, put
from vlfusion_jax.evals.classification import statement_scores

_PARTS = 4  # of an identifier: split, set of images, pair of images, sentence


def score_judgements(results: Path, annotations: Path) -> dict[str, float]:
    """`accuracy` and `consistency` of NLVR2 (Suhr et al. 2019, section 6), as its own `metrics.py` counts them.

    Examples whose identifiers differ in the third part alone share a statement.

    Args:
      results: CSV, a line `identifier,True` or `identifier,False` for each example.
      annotations: a JSON object on each line, with `identifier` and `label`.

    Raises:
      UserError: a line is not what it should be, or there twice, or an example has no judgement or is not known.
    """
    judged: dict[str, bool] = {}
    for place, line in _lines(results):
        identifier, _, label = line.partition(",")
        _put(judged, identifier, label, place)
    labels: dict[str, bool] = {}
    for place, row in json_lines(annotations):
        if not {"identifier", "label"} <= row.keys():
            raise UserError(f'{place}: {{"identifier": …, "label": …}} is expected.')
        _put(labels, str(row["identifier"]), str(row["label"]), place)
    for file, found in ((results, judged), (annotations, labels)):
        if not found:
            raise UserError(f"{file}: is empty.")
    if strange := [key for key in judged if key not in labels]:
        raise UserError(f"{results}: {len(strange):,} examples are not in {annotations}, such as {strange[0]!r}.")
    if missing := [key for key in labels if key not in judged]:
        raise UserError(
            f"{results}: {len(missing):,} of {len(labels):,} examples of {annotations} have no judgement, such as "
            f"{missing[0]!r}: judge every one."
        )
    return statement_scores([_statement(key) for key in labels], [judged[key] == labels[key] for key in labels])


def write_judgements(file: Path, judgements: Mapping[str, bool]) -> None:
    """Write what `score_judgements` reads: a line `identifier,True` or `identifier,False` for each example, in order.

    Raises:
      OSError: the file cannot be written.
    """
    with written_whole(file) as aside:
        aside.write_text("".join(f"{key},{value}\n" for key, value in judgements.items()), encoding="utf-8")


def _lines(file: Path) -> list[tuple[str, str]]:
    """(Place, line) of those that are not empty."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    return [(f"{file} line {i}", line.strip()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]


def _put(found: dict[str, bool], identifier: str, label: str, place: str) -> None:
    label = label.strip().lower()
    if label not in ("true", "false"):
        raise UserError(f"{place}: true or false is expected for {identifier!r}, got {label!r:.40}.")
    if len(identifier.split("-")) != _PARTS:
        raise UserError(f"{place}: an identifier such as 'dev-850-0-1' is expected, got {identifier!r:.80}.")
    put(found, identifier, label == "true", place)


def _statement(identifier: str) -> tuple[str, ...]:
    split, images, _, sentence = identifier.split("-")
    return split, images, sentence
