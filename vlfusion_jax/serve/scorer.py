"""Images and texts compared by a model: unit vectors of each alone, and the matching head on pairs."""

import contextlib
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.layers.attention import attention_by
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.inputs import input_shapes
from vlfusion_jax.models.steps import streams_alone
from vlfusion_jax.parallel.strategy import Strategy

Arrays = dict[str, np.ndarray]  # by name, a row for each text or image
MATCHING = (names.ITM, names.RETRIEVAL)  # heads that judge a pair; the first of them that a model has does
_TEXTS_OF_AN_IMAGE = 8  # judged side by side, so that what the image alone takes is done once for them
_TOKENS, _MASK, _VECTORS = "tokens", "mask", "vectors"


@dataclass(frozen=True)
class Encoded:
    """All texts, or all images, as far as a model works on them alone; on the host.

    Attributes:
      side: `text` or `image`, which is also the name of its stream.
      vectors: [rows, width] f32 unit vectors of the contrastive head; None of a model without one.
      read: what pairs are judged by: inputs of the model, or `tokens` [rows, tokens, width] and `mask` of the stream
        where no step before the fusion mixes it with another; empty where no pairs are to be.
    """

    side: str
    vectors: np.ndarray | None
    read: Arrays

    @property
    def rows(self) -> int:
        return len(next(iter(self.read.values()), self.vectors))


class Scorer:
    """Programs of fixed shapes, compiled once for each number of rows; these are few.

    Args:
      module: the model.
      params: its parameters.
      heads: that it has parameters for.
      batch_size: texts, or images, that it reads at a time: at least one for each part of the strategy's batch.
      strategy: splits rows over its devices; every process gives all rows and gets all results. None = one device.
      attention: see `layers.attention.attention_by`.

    Attributes:
      batch_size: as given, less what does not divide.
      compares: whether it has unit vectors, by the head `contrastive`.
      matching: the head that judges pairs, `itm` or `retrieval`; None = it has none.
    """

    def __init__(
        self,
        module: FusionModel,
        params: Any,
        heads: Sequence[str],
        batch_size: int = 64,
        strategy: Strategy | None = None,
        attention: str = "xla",
    ):
        self.compares = names.CONTRASTIVE in heads
        self.matching = next((head for head in MATCHING if head in heads), None)
        self._module, self._params, self._strategy, self._attention = module, params, strategy, attention
        self._parts = strategy.batch_parts if strategy else 1
        self.batch_size = batch_size // self._parts * self._parts
        self._texts = min(_TEXTS_OF_AN_IMAGE, batch_size // self._parts)
        self._alone = streams_alone(module.spec)
        out = {"out_shardings": strategy.replicated} if strategy else {}
        self._encode = jax.jit(self._encoded, static_argnums=(0, 1), **out)
        self._judge = jax.jit(self._judged, **out)

    def with_params(self, params: Any) -> "Scorer":
        """The same programs with other parameters."""
        other = copy.copy(self)
        other._params = params
        return other

    def encode(self, side: str, inputs: Arrays, for_pairs: bool = True) -> Encoded:
        """What the model makes of texts or images alone.

        Args:
          side: `text` or `image`.
          inputs: of that side, by name.
          for_pairs: whether pairs are to be judged; what they are judged by is large.
        """
        alone = for_pairs and side in self._alone
        made = {}
        if alone or self.compares:
            rows = len(next(iter(inputs.values())))
            program = partial(self._encode, side, alone)
            made = self._run(program, lambda at: self._rows_of(inputs, at), rows, self.batch_size, f"{side}s")
            made = {name: array[:rows] for name, array in made.items()}
        vectors = made.pop(_VECTORS, None)
        return Encoded(side, vectors, made if alone else inputs if for_pairs else {})

    def _encoded(self, side: str, alone: bool, params: Any, inputs: dict[str, jax.Array]) -> dict[str, jax.Array]:
        # What stands in for the other side is in nothing that is returned: the compiler leaves out what it would take.
        shapes = input_shapes(self._module.spec.inputs, rows=len(next(iter(inputs.values()))))
        stand_in = {name: jnp.ones(s.shape, s.dtype) for name, s in shapes.items() if not name.startswith(names.TARGET)}
        heads = (names.CONTRASTIVE,) if self.compares else ()
        output = self._module.apply({"params": params}, stand_in | inputs, heads)
        vectors = {_VECTORS: output.logits[names.CONTRASTIVE][side]} if self.compares else {}
        return vectors | (dict(zip((_TOKENS, _MASK), output.unfused[side], strict=True)) if alone else {})

    def judge(self, images: Encoded, texts: Encoded, pairs: np.ndarray) -> np.ndarray:
        """[pairs] f32, how well each fits: the log-odds of a match by head `itm`, the logit of head `retrieval`.

        Args:
          images, texts: encoded for pairs.
          pairs: [pairs, 2] int, numbers of an image and a text; at least one.

        Raises:
          UserError: the model has neither head.
        """
        self.check_judges()
        image, text, slots = grouped(pairs, self._texts)

        def groups(at: np.ndarray) -> dict[str, dict[str, jax.Array]]:
            return {
                names.IMAGE: self._rows_of(images.read, image[at]),
                names.TEXT: self._rows_of(texts.read, text[at].reshape(-1)),
            }

        most = self.batch_size // self._texts // self._parts * self._parts
        return self._run(self._judge, groups, len(image), most, "pairs")[slots]

    def check_judges(self) -> None:
        """Raise UserError unless the model has a head that judges pairs."""
        if self.matching is None:
            raise UserError(
                f"this model does not judge pairs of image and text: it has none of the heads {', '.join(MATCHING)}."
            )

    def _judged(self, params: Any, read: dict[str, dict[str, jax.Array]]) -> jax.Array:
        given = {side: (arrays[_TOKENS], arrays[_MASK]) for side, arrays in read.items() if _TOKENS in arrays}
        inputs = {name: x for side, arrays in read.items() if side not in given for name, x in arrays.items()}
        logits = self._module.apply({"params": params}, inputs, (self.matching,), given=given).logits[self.matching]
        return logits[:, 1] - logits[:, 0] if self.matching == names.ITM else logits[:, 0]

    def _rows_of(self, arrays: Arrays, at: np.ndarray) -> dict[str, jax.Array]:
        """Rows `at` of every array, on the devices."""

        def place(array: np.ndarray) -> jax.Array:
            rows = array[at]
            if self._strategy is None:
                return jnp.asarray(rows)
            return jax.make_array_from_callback(rows.shape, self._strategy.batch_sharding, lambda index: rows[index])

        return {name: place(array) for name, array in arrays.items()}

    def _run(self, program: Callable, chunk: Callable[[np.ndarray], Any], rows: int, most: int, what: str) -> Any:
        """Results of a program on all rows, at most so many at a time; the last row stands for those that miss."""
        size = self._parts
        while size < min(rows, most):
            size = min(2 * size, most)
        found, waiting = [], None
        active = self._strategy.activate() if self._strategy else contextlib.nullcontext()
        with active, attention_by(self._attention):
            for start in tqdm(range(0, rows, size), desc=what, unit="batch", leave=False, disable=None):
                # The device computes this chunk while the host fetches the one before.
                started = program(self._params, chunk(np.minimum(np.arange(start, start + size), rows - 1)))
                found += [] if waiting is None else [jax.device_get(waiting)]
                waiting = started
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found, jax.device_get(waiting))


def grouped(pairs: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs in groups of one image and `size` texts each, as the model reads them; what is left of a group is text 0.

    Args:
      pairs: [pairs, 2] int, numbers of an image and a text, in any order.
      size: texts of a group.

    Returns:
      image [groups], text [groups, size], and the slots [pairs]: where in the flat text the text of each pair is.
    """
    order = np.argsort(pairs[:, 0], kind="stable")
    images, first, counts = np.unique(pairs[order, 0], return_index=True, return_counts=True)
    groups = -(-counts // size)
    place = np.arange(len(pairs)) - np.repeat(first, counts)
    slots = np.empty(len(pairs), np.int64)
    slots[order] = np.repeat(np.cumsum(groups) - groups, counts) * size + place
    text = np.zeros(groups.sum() * size, np.int64)
    text[slots] = pairs[:, 1]
    return np.repeat(images, groups), text.reshape(-1, size), slots
