"""How much the tokens of a text take from those of an image, followed through all layers of attention.

One stream of both is followed by attention rollout (Abnar and Zuidema 2020, section 3, eq. 1): the product over the
layers of 0.5 A + 0.5 I, rows normalised. Two streams, or a text that reads an image, are followed by the rules that
Chefer et al. 2021 ("Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers")
give for them, eq. 5 to 11, but for one point: in place of the gradient-weighted attention of their eq. 5 stands the
attention itself, since what is asked is not one class but every word. In both, A is the mean over the heads.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.layers.block import CROSS, MLP, SELF, Stage
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.steps import Bridge, Join, Transform
from vlfusion_jax.models.spec.streams import IMAGE, JOINT, TEXT

Relevance = dict[str, dict[str, np.ndarray]]  # stream, then input → [tokens of the stream, tokens of the input]
Attention = Mapping[str, Mapping[str, np.ndarray]]  # as `FusionOutput.attention`


class Link(NamedTuple):
    """A sub-layer by which text and image attend to each other: its stage, its name there, and which way it reads."""

    stage: Stage
    name: str
    reads: str


TEXT_READS_IMAGE, IMAGE_READS_TEXT = "text reads image", "image reads text"


def origins(spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    """For every stream the inputs whose tokens it holds, in order."""
    found = {each.stream: (each.stream,) for each in spec.inputs}
    for step in spec.steps:
        if isinstance(step, Join):
            found[JOINT] = (TEXT, IMAGE)
        elif isinstance(step, Transform):
            found[step.target] = found[step.source]
    return found


def links(spec: ModelSpec, text: str) -> list[Link]:
    """Where the input `text` and the image attend to each other, in order.

    Raises:
      UserError: nowhere; the message says what attends to what instead.
    """
    of, found, instead = origins(spec), [], {}
    for stage in (step for step in spec.steps if isinstance(step, Stage) and step.layers):
        for i, kind in enumerate(stage.sublayers):
            for stream in stage.streams:
                if kind == MLP or (kind == CROSS and stream in stage.alone):
                    continue
                more = (stage.bottleneck,) if stage.bottleneck else ()
                keys = _others(stage, stream) if kind == CROSS else (stream,)
                ends = of[stream] + more, tuple(end for key in keys for end in of[key]) + more
                name = f"{stream}_{kind}_{i}"
                if ends in (((text,), (IMAGE,)), ((TEXT, IMAGE),) * 2):
                    found.append(Link(stage, name, TEXT_READS_IMAGE))
                elif ends == ((IMAGE,), (text,)):
                    found.append(Link(stage, name, IMAGE_READS_TEXT))
                else:
                    instead[" to ".join(map(" and ".join, ends))] = None
    if not any(link.reads == TEXT_READS_IMAGE for link in found):
        has = f"attention of {', of '.join(instead)} only" if instead else "no attention at all"
        raise UserError(f"this model's text does not attend to its image: it has {has}. There are no maps to show.")
    return found


def rollout(spec: ModelSpec, attention: Attention, keep: Mapping[str, np.ndarray], text: str) -> np.ndarray:
    """What the tokens of `text` take from the image, [its valid tokens, valid image tokens] float64.

    Rows sum to 1 with what is taken from the text where there is one stream, to anything where there are two.

    Args:
      spec: of a model with `links`.
      attention: of one row, as captured.
      keep: {input: [tokens] bool}, the valid ones, of text and image.
      text: which input the text is.
    """
    of = origins(spec)
    count = {s: int(keep[s].sum()) for s in keep}
    state: Relevance = {
        s: {t: np.eye(count[s]) if s == t else np.zeros((count[s], count[t])) for t in keep} for s in keep
    }
    joint = any(isinstance(step, Join) for step in spec.steps)
    for step in spec.steps:
        if isinstance(step, Join):
            state[JOINT] = {t: np.concatenate([state[TEXT][t], state[IMAGE][t]]) for t in keep}
        elif isinstance(step, Transform) and step.source in state:
            state[step.target] = state[step.source]
        elif isinstance(step, Bridge):
            state[step.target] = {t: (state[step.target][t] + state[step.source][t]) / 2 for t in keep}
        elif isinstance(step, Stage) and attention.get(step.name):
            valid = {s: np.concatenate([keep[t] for t in of[s]]) for s in state}
            for layer in range(step.layers):
                state = _layer(step, attention[step.name], layer, state, valid, of, joint)
    fused = JOINT if joint else spec.text if text == TEXT else text
    return state[fused][IMAGE][: count[text]]


def _layer(
    stage: Stage,
    attention: Mapping[str, np.ndarray],
    layer: int,
    state: Relevance,
    valid: Mapping[str, np.ndarray],
    of: Mapping[str, tuple[str, ...]],
    joint: bool,
) -> Relevance:
    entered = state
    for i, kind in enumerate(stage.sublayers):
        new = dict(state)
        for s in stage.streams:
            if kind == MLP or (kind == CROSS and s in stage.alone):
                continue
            [key] = _others(stage, s) if kind == CROSS else (s,)
            mean = attention[f"{s}_{kind}_{i}"][layer, 0].mean(0, dtype=np.float64)[valid[s]][:, valid[key]]
            if kind == SELF:
                new[s] = {t: _rolled(mean, x) if joint else x + mean @ x for t, x in state[s].items()}
            else:
                read = (entered if stage.cross_entered else state)[key]
                new[s] = _crossed(mean, state[s], read, *of[s], *of[key])
        state = new
    return state


def _rolled(attention: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Abnar and Zuidema, eq. 1 and the residual before it."""
    with_residual = 0.5 * attention + 0.5 * np.eye(len(attention))
    return with_residual / with_residual.sum(1, keepdims=True) @ x


def _crossed(
    attention: np.ndarray, own: Mapping[str, np.ndarray], read: Mapping[str, np.ndarray], s: str, q: str
) -> dict[str, np.ndarray]:
    """Chefer et al., eq. 10 and 11: a stream of input `s` attends to one of input `q`."""
    taken = _normalised(own[s]).T @ attention @ _normalised(read[q])
    return dict(own) | {q: own[q] + taken, s: own[s] + attention @ read[s]}


def _normalised(x: np.ndarray) -> np.ndarray:
    """Chefer et al., eq. 8 and 9: the part beside the identity brought to rows that sum to 1."""
    identity = np.eye(len(x))
    rest = x - identity
    total = rest.sum(1, keepdims=True)
    return np.divide(rest, total, out=np.zeros_like(rest), where=total > 0) + identity


def _others(stage: Stage, stream: str) -> tuple[str, ...]:
    return stage.context or tuple(s for s in stage.streams if s != stream)
