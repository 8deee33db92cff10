"""Text from a model: by its decoder, which reads each token once, as keys and values of those before are kept; or by
layers that read image and text together, and read both anew for each token.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.models.beams import beam_search
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.models.search import Next, Search, Written, single_search
from vlfusion_jax.models.spec.streams import TARGET, TEXT
from vlfusion_jax.ops.masks import order_of


def generate(
    model: FusionModel,
    params: Any,
    source: FusionOutput | Mapping[str, jax.Array],
    head: str,
    prompt: jax.Array,
    mask: jax.Array,
    search: Search,
    keys: jax.Array | None = None,
) -> Written:
    """Texts by a model; a row's is what it is alone, whatever the other rows and their prompts.

    Args:
      model: has a decoder, or writes behind an image (`ModelSpec.writes_into`).
      params: its parameters.
      source: what is written about: the output of the model for inputs without `target`, of use to all steps and
        beams; of a model without a decoder, the inputs without text.
      head: name of the word head that writes.
      prompt: [rows, p] int32, how every text begins, at least a token; padding stands behind it. `rows` is a multiple
        of those of `source`, in the order of `FusionModel`.
      mask: [rows, p], 1 = token.
      search: how to look for texts.
      keys: [rows] random keys, one for each text, where `search.top_p` asks for draws.

    Raises:
      UserError: there is no room behind a prompt.
    """
    if model.spec.writes_into(head) == TARGET:
        next_of, memory = decoder(model, params, source, head, prompt, search.max_length)
    else:
        next_of, memory = prefix_reader(model, params, source, head, prompt, search.max_length)
    if search.beams > 1:
        return beam_search(next_of, memory, prompt, mask, search)
    return single_search(next_of, memory, prompt, mask, search, keys)


def decoder(
    model: FusionModel, params: Any, encoded: FusionOutput, head: str, prompt: jax.Array, length: int
) -> tuple[Next, Any]:
    """What a search knows of a model with a decoder, and its memory of the prompts; arguments as of `generate`.

    Padding leaves keys and values too, at places behind its row's prompt: no token reads them before its own text has
    come there and put its own in their place.

    Args:
      encoded: output of the model for inputs without `target`, of use to all steps and beams.
      length: tokens that there is room for.
    """

    def read(tokens: jax.Array, places: jax.Array, heads: tuple[str, ...], kept: dict, change: tuple[str, ...]) -> Any:
        """Logits of `heads` behind `tokens` [rows, t] at `places` [rows, t]; the collections in `change`."""
        target = {
            names.TARGET: tokens,
            names.mask_of(names.TARGET): jnp.ones((len(tokens), length), jnp.int32),
            names.TARGET_PLACES: places,
        }
        output, changed = model.apply({"params": params} | kept, target, heads, encoded=encoded, mutable=change)
        return output.logits, changed

    places = jnp.broadcast_to(jnp.arange(prompt.shape[1]), prompt.shape)
    _, kept = read(prompt, places, (), {}, (names.CACHE, names.CROSS_CACHE))
    crossed = {names.CROSS_CACHE: kept[names.CROSS_CACHE]} if names.CROSS_CACHE in kept else {}

    def next_of(tokens: jax.Array, places: jax.Array, memory: Any) -> tuple[jax.Array, Any]:
        kept = crossed | {names.CACHE: memory}
        logits, changed = read(tokens[:, None], places[:, None], (head,), kept, (names.CACHE,))
        return logits[head][:, 0], changed[names.CACHE]

    return next_of, kept[names.CACHE]


def prefix_reader(
    model: FusionModel, params: Any, inputs: Mapping[str, jax.Array], head: str, prompt: jax.Array, length: int
) -> tuple[Next, Any]:
    """As `decoder`, of a model whose layers read image and text together: its memory is the text so far."""
    begun = jnp.pad(prompt, ((0, 0), (0, length - prompt.shape[1])))

    def next_of(tokens: jax.Array, places: jax.Array, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
        texts = memory[:, 0, :, 0].at[jnp.arange(len(tokens)), places].set(tokens)
        read = {
            TEXT: texts,
            names.mask_of(TEXT): order_of(jnp.arange(length) <= places[:, None]),
            names.TARGET_POSITIONS: places[:, None],
        }
        logits = model.apply({"params": params}, inputs | read, (head,)).logits[head][:, 0]
        return logits, texts[:, None, :, None]

    return next_of, begun[:, None, :, None]
