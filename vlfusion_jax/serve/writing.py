"""Texts that a model writes or finds the most probable: captions, and answers in words."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.vocabulary import Vocabulary, begin_and_end
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.generate import generate
from vlfusion_jax.models.rank import rank
from vlfusion_jax.models.search import Search, Written
from vlfusion_jax.models.spec.streams import TARGET
from vlfusion_jax.serve.answers import Answer
from vlfusion_jax.serve.inputs import text_input

SHORTLIST = 128  # candidates that are read whole, as in BLIP's own code
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
      module: has a head that writes.
      model: `config.model`, which may say what tokens begin and end a text.
      vocabulary: its tokenizer.
    """

    def __init__(self, module: FusionModel, model: ConfigDict, vocabulary: Vocabulary):
        self._module, self._model, self._vocabulary = module, model, vocabulary

    def write(
        self,
        params: Any,
        inputs: Mapping[str, np.ndarray],
        head: str,
        prompt: str | Sequence[str] = "",
        seed: int = 0,
        **how: Any,
    ) -> list[Answer]:
        """A text for each row of the inputs, with its probability: the product of those of its tokens.

        Args:
          params: of the module.
          inputs: without `target`.
          head: word head of `target`.
          prompt: how the texts begin, one for all or one for each row.
          seed: of draws; each row has a key of its own.
          how: fields of `Search`.

        Raises:
          UserError: a search that means nothing, a length that the model has no room for, or too many or few prompts.
        """
        begin, end = begin_and_end(self._model, self._vocabulary)
        search = Search(end, self._vocabulary.pad_id, **how)
        room = self._room(head)
        if search.max_length > room:
            raise UserError(f"max_length is {search.max_length}; this model has room for {room} tokens.")
        rows = len(next(iter(inputs[name] for name in (names.TEXT, names.IMAGE) if name in inputs)))
        prompts = [prompt] * rows if isinstance(prompt, str) else list(prompt)
        if len(prompts) != rows:
            raise UserError(f"prompt: {len(prompts)} are given for {rows} texts; give one for all, or one for each.")
        # In place of the tokens around the prompt there is the one that begins a text.
        ids, mask = self._arrays([[begin, *each] for each in self._tokens(prompts)])
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(np.arange(rows))
        written = _write(self._module, head, search, params, dict(inputs), ids, mask, keys)
        return [
            Answer(self._vocabulary.decode(tokens[mask > 0][1:].tolist()), float(np.exp(log_prob)))  # behind the begin
            for tokens, mask, log_prob in zip(*map(np.asarray, written[:3]), strict=True)
        ]

    def choose(
        self, params: Any, inputs: Mapping[str, np.ndarray], head: str, candidates: Sequence[str], top: int
    ) -> list[list[Answer]]:
        """The `top` most probable candidates for each row of the inputs, best first; other arguments as of `write`.

        Those are read whole whose first tokens are the 128 most probable.

        Raises:
          UserError: as `candidates`.
        """
        ids, mask = self.candidates(candidates, head)
        shortlist = min(SHORTLIST, len(ids))
        found = _rank(self._module, head, min(top, shortlist), shortlist, params, dict(inputs), ids, mask)
        return [
            [Answer(candidates[number], float(np.exp(log_prob))) for number, log_prob in zip(*row, strict=True)]
            for row in zip(*map(np.asarray, found), strict=True)
        ]

    def candidates(self, texts: Sequence[str], head: str) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and mask [texts, tokens of the longest] int32 of texts to choose among, their ends included.

        Raises:
          UserError: there are no texts, or one that the model has no room for.
        """
        if isinstance(texts, str) or not texts:
            raise UserError(f"candidates: expected a list of texts, at least one, got {texts!r}.")
        begin, end = begin_and_end(self._model, self._vocabulary)
        tokens, room = [[begin, *each, end] for each in self._tokens(texts)], self._room(head)
        for text, own in zip(texts, tokens, strict=True):
            if len(own) > room:
                raise UserError(f"candidates: {text!r} has {len(own)} tokens; this model has room for {room}.")
        return self._arrays(tokens)

    def _room(self, head: str) -> int:
        return text_input(self._module.spec, self._module.spec.writes_into(head)).room

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        return [each.ids for each in self._vocabulary.tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def _arrays(self, texts: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and mask [texts, tokens of the longest] int32."""
        mask = np.arange(max(map(len, texts))) < np.array([[len(text)] for text in texts])
        ids = np.full(mask.shape, self._vocabulary.pad_id, np.int32)
        ids[mask] = np.concatenate(texts)
        return ids, mask.astype(np.int32)


@partial(jax.jit, static_argnums=range(3))
def _write(
    module: FusionModel,
    head: str,
    search: Search,
    params: Any,
    inputs: Mapping[str, jax.Array],
    prompt: jax.Array,
    mask: jax.Array,
    keys: jax.Array,
) -> Written:
    has_decoder = module.spec.writes_into(head) == TARGET
    source = module.apply({"params": params}, inputs) if has_decoder else inputs
    return generate(module, params, source, head, prompt, mask, search, keys)


def encode_and_rank(
    module: FusionModel,
    head: str,
    top: int,
    shortlist: int,
    params: Any,
    inputs: Mapping[str, jax.Array],
    texts: jax.Array,
    mask: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """See `models.rank.rank`, whose `encoded` is made of `inputs`."""
    encoded = module.apply({"params": params}, inputs)
    return rank(module, params, encoded, head, jnp.asarray(texts), jnp.asarray(mask), top, shortlist)


_rank = partial(jax.jit, static_argnums=range(4))(encode_and_rank)
