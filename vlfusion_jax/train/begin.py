"""Where a run begins: at its newest checkpoint, at weights of other runs, or at random ones."""

import re
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import flatten, nested, path_name
from vlfusion_jax.data.vocabulary import Vocabulary, check_same
from vlfusion_jax.models.families.table import load_stored
from vlfusion_jax.models.spec.streams import IMAGE, TEXT
from vlfusion_jax.train.checkpoint import Checkpointer, load_meta, load_params, stored_params
from vlfusion_jax.train.state import TrainState
from vlfusion_jax.train.tower_settings import FUSION, differing_settings

OF_TASKS = rf"^({names.HEAD}|{names.LOG_VARIANCE}/)|/{names.MASK_VECTOR}$"
ANSWER_HEAD = names.HEAD + names.VQA
TEXT_POSITIONS = r"^text/embedding/positions/table$"
# Tables of text and image, to which a pair adds its second image: it begins as the first (ViLT, UNITER, METER).
TYPES = (r"^modality/table$", r"^text/embedding/token_types/table$")
# Parts of a model that are its tower of text or image: input, layers, and the norm behind them.
TOWERS = {side: (f"{side}/", f"{side}_layers/", f"{side}_norm/") for side in (TEXT, IMAGE)}


def begin(run: Any, checkpoints: Checkpointer, source: str = "") -> tuple[TrainState, int, float]:
    """(state, completed updates, seconds of training so far) to go on from.

    Args:
      run: see `train.setup.Run`.
      checkpoints: of the work directory.
      source: fingerprint of the training data, see `data.source.fingerprint`.

    Raises:
      UserError: no checkpoint reads, or the one to begin from has other data or another vocabulary, does not fit the
        model, or computes otherwise.
    """
    if checkpoints.steps():  # before the arrays, whose shapes follow from the vocabulary
        _check_data(load_meta(checkpoints.folder), run.vocabulary, source)
    restored = checkpoints.restore(run.abstract_state)
    if restored is not None:
        say(f"resuming after step {restored.step}")
        return restored.state, restored.step, restored.meta["clock"]
    state = run.init_state()
    sources = sources_of(run.config)
    if sources and _is_whole(run.config):
        state = run.start_from(state, _params_of(sources[0], run, state.params))
        _check_settings(sources[0], run.config.model, (*TOWERS, FUSION))
        say(f"starting from the parameters of {sources[0]}")
    elif sources:
        state = run.start_from(state, _with_towers(sources, run, state.params))
    return state, 0, 0.0


def sources_of(config: ConfigDict) -> tuple[str, ...]:
    """The paths in `config.init_from`."""
    return tuple(path.strip() for path in config.init_from.split(",") if path.strip())


def source_of_words(config: ConfigDict) -> str:
    """The source whose tokenizer a new run goes on with: the first that reads text; '' = none does."""
    sources = sources_of(config)
    if _is_whole(config):
        return sources[0]
    return next((path for path in sources if any(name.startswith(TOWERS[TEXT]) for name in stored_params(path))), "")


def _is_whole(config: ConfigDict) -> bool:
    """Whether a run starts from all weights of one model of its family, not from towers of others."""
    sources = sources_of(config)
    return len(sources) == 1 and load_meta(sources[0])["config"]["model"]["family"] == config.model.family


class _TowerSource(NamedTuple):
    """A source's parameters of one side that the model takes, or why it takes none of them."""

    leaves: tuple[str, ...]
    misfit: str = ""


def _with_towers(sources: tuple[str, ...], run: Any, fresh: dict[str, Any]) -> dict[str, Any]:
    """`fresh` with the towers of models of other families, each from the first source that has one that fits.

    Raises:
      UserError: nothing of a source fits, its words have other numbers, or a tower that fits computes otherwise.
    """
    wanted = flatten(run.abstract_state.params)
    filled: dict[str, str] = {}
    loaded: dict[str, Any] = {}
    for path in sources:
        stored = stored_params(path)
        found = {side: _tower_of(stored, wanted, side) for side in TOWERS}
        taken = [side for side, tower in found.items() if tower.leaves and side not in filled]
        if not taken:
            reasons = [f"{side}: {tower.misfit or f'filled by {filled[side]}'}" for side, tower in found.items()]
            raise UserError(f"init_from: no tower of {path} is one of this model's.\n  " + "\n  ".join(reasons))
        if TEXT in taken:
            _check_tokenizer(path, run)
        _check_settings(path, run.config.model, taken)
        leaves = {name: wanted[name] for side in taken for name in found[side].leaves}
        loaded |= flatten(load_params(path, nested(leaves), allow_new=(".*",), allow_longer=(TEXT_POSITIONS,)))
        for side in taken:
            of_side = sum(name.startswith(TOWERS[side]) for name in wanted)
            say(f"{side} tower: {len(found[side].leaves)} of {of_side} parameters from {path}")
        filled |= dict.fromkeys(taken, path)
    say(f"{len(wanted) - len(loaded)} other parameters begin at random")
    return jax.tree_util.tree_map_with_path(lambda path, leaf: loaded.get(path_name(path), leaf), fresh)


def _tower_of(stored: dict[str, Any], wanted: dict[str, Any], side: str) -> _TowerSource:
    """A tower is taken whole, or not at all."""
    leaves = tuple(name for name in stored if name.startswith(TOWERS[side]))
    if not leaves:
        return _TowerSource((), "it has none")
    for name in leaves:
        if name not in wanted:
            return _TowerSource((), f"{name}: in the checkpoint, not in the model")
        there, here = tuple(stored[name].shape), tuple(wanted[name].shape)
        longer = re.search(TEXT_POSITIONS, name) and there[1:] == here[1:] and there > here
        if there != here and not longer:
            return _TowerSource((), f"{name}: {there} in the checkpoint, {here} in the model")
    return _TowerSource(leaves)


def _check_settings(path: str, model: ConfigDict, sides: Iterable[str]) -> None:
    """Hold that the model computes on `sides` with a source's parameters what is done there."""
    there = load_stored(load_meta(path)["config"], path).model
    lines = [line for side in sides for line in differing_settings(there, model, side)]
    if lines:
        raise UserError(
            f"init_from: what {path} has fits by its shapes, but computes otherwise.\n  " + "\n  ".join(lines)
        )


def _check_data(meta: dict[str, Any], vocabulary: Vocabulary, source: str) -> None:
    check_same(vocabulary, Vocabulary.from_dict(meta["vocabulary"]), "the checkpoint of this work directory")
    if meta["source"] != source:
        raise UserError(
            f"the training data has changed since checkpoint {meta['step']} of this work directory (fingerprint "
            f"{meta['source']}, now {source}): bring it back, or start a new --workdir, with --init_from if the "
            "weights shall go on."
        )


def _params_of(path: str, run: Any, fresh: dict[str, Any]) -> dict[str, Any]:
    """Parameters of another run, for texts that are at most as long.

    Heads that it lacks stay fresh, what weights its tasks and what stands for hidden regions, and so does the answer
    head where answers differ.
    """
    stored = _check_tokenizer(path, run)
    params = load_params(
        path, run.abstract_state.params, fresh, allow_new=(OF_TASKS,), allow_longer=(TEXT_POSITIONS,),
        allow_shorter=TYPES,
    )  # fmt: skip
    if stored.answers != run.vocabulary.answers and ANSWER_HEAD in params:
        params = params | {ANSWER_HEAD: fresh[ANSWER_HEAD]}
    return params


def _check_tokenizer(path: str, run: Any) -> Vocabulary:
    """The vocabulary of a source, held to have the words of the run's."""
    stored = Vocabulary.from_dict(load_meta(path)["vocabulary"])
    if stored.tokenizer_json != run.vocabulary.tokenizer_json:
        raise UserError(
            f"init_from: the tokenizer of {path} is not that of the run; leave data.tokenizer empty to go on with the "
            "one that the weights were trained with, and of several sources name first the one whose text is meant."
        )
    return stored


def say(message: str) -> None:
    """One line on stderr, from process 0."""
    if jax.process_index() == 0:
        print(message, file=sys.stderr, flush=True)
