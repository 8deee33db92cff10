"""Texts that a model writes: captions, and answers in its own words."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.vocabulary import Vocabulary
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.generate import Search, generate
from vlfusion_jax.models.spec.streams import TARGET
from vlfusion_jax.serve.answers import Answer
from vlfusion_jax.serve.inputs import text_input

# What a user asks of a model, by the head that it takes.
_ABILITIES = {
    names.CAPTION: "writes captions (`caption`)",
    names.ANSWER: "answers questions (`answer`)",
    names.VQA: "answers questions (`answer`)",
}


def check_ability(heads: Sequence[str], wanted: str, lacks: str) -> None:
    """Raise UserError where `wanted` is not among a model's heads; `lacks` says what it then does not do."""
    if wanted in heads:
        return
    able = [_ABILITIES[head] for head in heads if head in _ABILITIES]
    has = f"it {able[0]}" if able else f"its heads are {', '.join(heads)}" if heads else "it has no head"
    raise UserError(f"this model {lacks}: it has no head {wanted!r}; {has}.")


class Writer:
    """Writes by the decoder of a model; compiled once for each number of rows, length of prompt, and search.

    Args:
      module: has a `target` stream.
      model: `config.model`, which says what tokens begin and end a text.
      vocabulary: its tokenizer.
    """

    def __init__(self, module: FusionModel, model: ConfigDict, vocabulary: Vocabulary):
        self._module, self._model, self._vocabulary = module, model, vocabulary

    def write(
        self, params: Any, inputs: Mapping[str, np.ndarray], head: str, prompt: str, beams: int, max_length: int
    ) -> list[Answer]:
        """A text for each row of the inputs, with its probability: the product of those of its tokens.

        Args:
          params: of the module.
          inputs: without `target`.
          head: word head of `target`.
          prompt: how every text begins.
          beams: texts that are kept at a time; 1 = greedy search.
          max_length: tokens of the longest text, those before and behind it included.

        Raises:
          UserError: no beams, or a length that the model has no room for.
        """
        room = text_input(self._module.spec, TARGET).room
        if beams < 1:
            raise UserError(f"beams is {beams}; it must be at least 1.")
        if max_length > room:
            raise UserError(f"max_length is {max_length}; this model has room for {room} tokens.")
        search = Search(self._model.end_id, self._vocabulary.pad_id, beams, max_length)
        # In place of the tokens around the prompt there is the one that begins a text.
        begun = [self._model.begin_id, *self._vocabulary.tokenizer.encode(prompt, add_special_tokens=False).ids]
        rows = len(next(iter(inputs[name] for name in (names.TEXT, names.IMAGE) if name in inputs)))
        written = _write(self._module, head, search, params, dict(inputs), jnp.asarray([begun] * rows))
        return [
            Answer(self._vocabulary.decode(tokens[mask > 0][1:].tolist()), float(probability))  # behind the beginning
            for tokens, mask, probability in zip(*map(np.asarray, written), strict=True)
        ]


@partial(jax.jit, static_argnums=range(3))
def _write(
    module: FusionModel, head: str, search: Search, params: Any, inputs: Mapping[str, jax.Array], prompt: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Tokens and mask [rows, max_length] of texts, and their probabilities [rows]."""
    encoded = module.apply({"params": params}, inputs)
    tokens, mask = generate(module, params, encoded, head, prompt, search)
    target = {names.TARGET: tokens[:, :-1], names.mask_of(names.TARGET): mask[:, :-1]}
    logits = module.apply({"params": params}, target, (head,), encoded=encoded).logits[head]
    log_probs = jnp.take_along_axis(jax.nn.log_softmax(logits), tokens[:, 1:, None], axis=2)[..., 0]
    own = mask[:, 1:] * (jnp.arange(1, search.max_length) >= prompt.shape[1])
    return tokens, mask, jnp.exp(jnp.where(own > 0, log_probs, 0).sum(1))
