"""Where a run begins: at its newest checkpoint, at another run's weights, or at random ones."""

import sys
from typing import Any

import jax

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.vocabulary import Vocabulary, check_same
from vlfusion_jax.train.checkpoint import Checkpointer, load_meta, load_params
from vlfusion_jax.train.state import TrainState

HEADS = rf"^{names.HEAD}"
ANSWER_HEAD = names.HEAD + names.VQA
TEXT_POSITIONS = r"^text/embedding/positions/table$"


def begin(run: Any, checkpoints: Checkpointer, source: str = "") -> tuple[TrainState, int, float]:
    """(state, completed updates, seconds of training so far) to go on from.

    Args:
      run: see `train.setup.Run`.
      checkpoints: of the work directory.
      source: fingerprint of the training data, see `data.source.fingerprint`.

    Raises:
      UserError: no checkpoint reads, or the one to begin from has other data or another vocabulary, or does not fit
        the model.
    """
    if checkpoints.steps():  # before the arrays, whose shapes follow from the vocabulary
        _check_data(load_meta(checkpoints.folder), run.vocabulary, source)
    restored = checkpoints.restore(run.abstract_state)
    if restored is not None:
        say(f"resuming after step {restored.step}")
        return restored.state, restored.step, restored.meta["clock"]
    state = run.init_state()
    if run.config.init_from:
        state = state.replace(params=_params_of(run.config.init_from, run, state.params))
        say(f"starting from the parameters of {run.config.init_from}")
    return state, 0, 0.0


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

    Heads that it lacks stay fresh, and so does the answer head where answers differ.
    """
    stored = Vocabulary.from_dict(load_meta(path)["vocabulary"])
    if stored.tokenizer_json != run.vocabulary.tokenizer_json:
        raise UserError(
            f"init_from: the tokenizer of {path} is not that of data.tokenizer; leave data.tokenizer empty to go on "
            "with the one that the weights were trained with."
        )
    params = load_params(path, run.abstract_state.params, fresh, allow_new=(HEADS,), allow_longer=(TEXT_POSITIONS,))
    if stored.answers != run.vocabulary.answers and ANSWER_HEAD in params:
        params = params | {ANSWER_HEAD: fresh[ANSWER_HEAD]}
    return params


def say(message: str) -> None:
    """One line on stderr, from process 0."""
    if jax.process_index() == 0:
        print(message, file=sys.stderr, flush=True)
