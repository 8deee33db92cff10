"""From a picture and a text to maps of the words over the picture; `Model.explain` is what a user calls."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data import images
from vlfusion_jax.data.layout import canvas_of
from vlfusion_jax.data.vocabulary import begin_and_end
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.models.spec.streams import IMAGE, JOINT, TARGET
from vlfusion_jax.ops.optimal_transport import cosine_cost, ipot
from vlfusion_jax.serve.answers import best_answers
from vlfusion_jax.serve.cells import Cells, cells_of
from vlfusion_jax.serve.explanation import Explanation
from vlfusion_jax.serve.inputs import image_input, text_input
from vlfusion_jax.serve.retrieval import probabilities
from vlfusion_jax.serve.rollout import TEXT_READS_IMAGE, Link, links, rollout

if TYPE_CHECKING:
    from vlfusion_jax.serve.model import Model

ROLLOUT, ATTENTION, ALIGNMENT = "rollout", "attention", "alignment"
METHODS = (ROLLOUT, ATTENTION, ALIGNMENT)
# Of the published demo of ViLT (Kim et al. 2021), whose figure 4 shows such plans.
_BETA, _ITERATIONS = 0.1, 1000

Words = list[tuple[str, list[int]]]  # each with the places of its tokens


def explain(
    model: "Model", picture: str | Path | np.ndarray, text: str, method: str = ROLLOUT, head: str = ""
) -> Explanation:
    """See `Model.explain`."""
    if method not in METHODS:
        raise UserError(f"method {method!r} is unknown; there are {', '.join(METHODS)}.")
    spec = model.module.spec
    reads = text_input(spec)
    if reads is None or image_input(spec) is None:
        raise UserError("this model does not read both a picture and a text: there is nothing between them to show.")
    between = links(spec, reads.stream)
    pixels = images.read_image(picture)
    inputs = model.encode([pixels], [text])
    tokens = inputs[reads.stream].shape[1]
    words = model.vocabulary.words(text, tokens)
    if not words:
        raise UserError(f"the text {text!r} has no words to show.")
    if reads.stream == TARGET:
        words = _as_written(inputs, words, begin_and_end(model.config.model, model.vocabulary)[0])
    keep = {reads.stream: inputs[names.mask_of(reads.stream)][0] > 0}
    heads = [head] if head else [each for each in (names.VQA, names.ITM) if each in model.heads][:1]
    output = model(inputs, heads, capture=True)
    keep[IMAGE] = np.asarray(output.image_mask)[0] > 0
    cells = cells_of(image_input(spec), inputs[names.IMAGE_MASK][0], pixels.shape[:2], canvas_of(model.config.data))
    attention = {
        stage: {name: np.asarray(weights) for name, weights in sublayers.items()}
        for stage, sublayers in output.attention.items()
    }
    shown = {
        f"{link.stage.name}/{link.name}": _of_link(link, attention, words, tokens, cells)
        for link in between
        if link.stage.name in attention
    }
    if method == ATTENTION:
        labels, maps = _of_layers(between, shown)
        how = "attention, mean over heads"
    elif method == ROLLOUT:
        taken = np.zeros((tokens, len(keep[IMAGE])))
        taken[np.ix_(keep[reads.stream], keep[IMAGE])] = rollout(spec, attention, keep, reads.stream)
        labels, maps = ("rollout",), cells.maps(_of_words(taken, words))[None]
        how = "attention followed through all layers"
    else:
        is_word = model.vocabulary.word_ids(text, tokens) >= 0
        labels, maps = ("alignment",), cells.maps(_of_words(_plan(output, is_word, cells), words))[None]
        how = "optimal transport between words and cells"
    return Explanation(
        picture=pixels,
        text=text,
        words=tuple(word for word, _ in words),
        verdict=_verdict(model, pixels, text, output, head),
        method=how,
        labels=labels,
        maps=maps,
        attention=shown,
        cells=cells,
    )


def _as_written(inputs: dict[str, np.ndarray], words: Words, begin_id: int) -> Words:
    """Makes the text what a decoder reads; a word is then where it is predicted: at the token before it."""
    inputs[TARGET] = inputs[TARGET].copy()
    inputs[TARGET][:, 0] = begin_id
    return [(word, [place - 1 for place in places]) for word, places in words]


def _of_words(weights: np.ndarray, words: Words) -> np.ndarray:
    """[..., tokens, n] → [..., words, n], the mean over the tokens of each word."""
    return np.stack([weights[..., places, :].mean(-2) for _, places in words], axis=-2)


def _of_link(
    link: Link, attention: Mapping[str, Mapping[str, np.ndarray]], words: Words, tokens: int, cells: Cells
) -> np.ndarray:
    """[layers, heads, words, rows, columns] of a sub-layer; of words read by cells, where that is what it does."""
    weights = attention[link.stage.name][link.name][:, 0].astype(np.float64)
    if link.stage.streams == (JOINT,):
        weights = weights[:, :, :tokens, tokens:]
    elif link.reads != TEXT_READS_IMAGE:
        weights = weights.swapaxes(-1, -2)
    return cells.maps(_of_words(weights, words))


def _of_layers(between: list[Link], shown: Mapping[str, np.ndarray]) -> tuple[tuple[str, ...], np.ndarray]:
    """A row of maps for each layer, the mean over its heads; layers are counted on their own for each way to read."""
    labels, maps, counts = [], [], {}
    for link in sorted(between, key=lambda each: each.reads != TEXT_READS_IMAGE):
        for layer in shown.get(f"{link.stage.name}/{link.name}", ()):
            counts[link.reads] = counts.get(link.reads, 0) + 1
            labels.append(f"{link.reads}, {counts[link.reads]}")
            maps.append(layer.mean(0))
    return tuple(labels), np.stack(maps)


def _plan(output: FusionOutput, is_word: np.ndarray, cells: Cells) -> np.ndarray:
    """Transport plan between the final tokens, without special ones, [text tokens, image tokens] float64."""
    if output.text is None or output.text.shape[-1] != output.image.shape[-1]:
        raise UserError(
            "alignment compares the final tokens of text and image, which this model does not have in one space: use "
            f"the method {ROLLOUT!r} or {ATTENTION!r}."
        )
    masks = (jnp.asarray(is_word)[None], jnp.asarray(cells.of_token >= 0)[None])
    plan = ipot(cosine_cost(output.text, output.image, *masks), *masks, _BETA, _ITERATIONS)
    return np.asarray(plan[0], np.float64)


def _verdict(model: "Model", pixels: np.ndarray, text: str, output: FusionOutput, head: str) -> str:
    logits = output.logits
    if names.ITM in logits:
        [[others, match]] = np.asarray(logits[names.ITM], np.float64)
        return f"match  {probabilities(match - others):.0%}"
    if names.VQA in logits:
        answers, loss = model.vocabulary.answers, model.config.tasks.vqa.loss
        [[best]] = best_answers(np.asarray(logits[names.VQA]), answers, loss, top=1)
    elif names.ANSWER in model.heads and not head:
        best = model.answer(pixels, text)[0]
    else:
        return ""
    return f"{best.text}  {best.probability:.0%}"
