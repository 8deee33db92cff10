"""Models from and to the format of Hugging Face's `transformers`.

A converter is a module of `convert.families`, named in `CONVERTERS`, with

    MODEL_TYPE, REQUIRED  what their `config.json` has as `model_type`; {key: value} that it must have or not mention
    HEADS                 {class of theirs: our heads that it has}
    hyperparameters       (config) -> {ours: value}, where they are not those of the family's base size
    given                 (config, number of answers) -> `Given`: sizes that the configuration decides
    config_of             (model, sizes, architecture) -> their `config.json`, but for what all classes have
    name_map              (model, sizes, architecture) -> `NameMap` of a checkpoint of this class

and, only where a family needs it, one of

    of_tensors            (keys, function from key to array, architecture) -> {ours: value} that the tensors decide
    patches_kept          (config, shorter side of the images in pixels) -> our `max_image_tokens`
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vlfusion_jax.config.keys import nearest
from vlfusion_jax.convert.answers import choose_answers, numbered_answers
from vlfusion_jax.convert.expressed import check_expressed
from vlfusion_jax.convert.families import (
    bert,
    blip,
    bridgetower,
    clip,
    lxmert,
    resnet,
    roberta,
    siglip,
    vilt,
    visualbert,
    vit,
)  # fmt: skip
from vlfusion_jax.convert.fields import require
from vlfusion_jax.convert.heads import check_heads, read_params
from vlfusion_jax.convert.images import Reading
from vlfusion_jax.convert.name_map import Entry, NameMap
from vlfusion_jax.convert.source import Checkpoint
from vlfusion_jax.convert.weights import Accounting, export_weights, missing_keys
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, check_model, hyperparameters
from vlfusion_jax.models.spec.model import ModelSpec

# What converts each family, by the family's name.
CONVERTERS: dict[str, ModuleType] = {
    "vilt": vilt,
    "visualbert": visualbert,
    "lxmert": lxmert,
    "blip": blip,
    "clip": clip,
    "siglip": siglip,
    "bert": bert,
    "roberta": roberta,
    "vit": vit,
    "resnet": resnet,
    "bridgetower": bridgetower,
}


@dataclass(frozen=True)
class _View:
    """A checkpoint as one of a class: its keys as that class has them, and what follows of it; see `Imported`."""

    checkpoint: Checkpoint
    architecture: str
    model: ConfigDict
    sizes: Given
    answers: tuple[str, ...]
    keys: NameMap


@dataclass(frozen=True)
class Imported:
    """A model as it was read.

    Attributes:
      family: its name.
      architecture: class of `transformers` that it was saved by; '' = it was not (see `convert.original`).
      model: `config.model`.
      sizes: what the checkpoint decides about vocabulary, answers, text and image.
      answers: names of the answers, in the order of their classes.
      heads: names of its heads.
      spec: the model's specification.
      params: {path: array}.
      account: what became of every key.
      images: how its images are read (see `convert.resize`); None = not looked up, or it reads none.
    """

    family: str
    architecture: str
    model: ConfigDict
    sizes: Given
    answers: tuple[str, ...]
    heads: tuple[str, ...]
    spec: ModelSpec
    params: dict[str, np.ndarray]
    account: Accounting
    images: Reading | None = None

    def lines(self) -> list[str]:
        """The report, a line each."""
        return [*(self.images.lines() if self.images else ()), *self.account.lines()]


def import_model(
    checkpoint: Checkpoint, family: str = "", heads: tuple[str, ...] | None = None, answers: tuple[str, ...] = ()
) -> Imported:
    """The model of a checkpoint, in our parameters.

    Args:
      checkpoint: see `source.open_checkpoint`.
      family: expected; '' = whichever `config.json` names.
      heads: that the model shall have; those that the checkpoint lacks start fresh. None = those of its class.
      answers: names of the answers, where the checkpoint has numbers only or no head for them.

    Raises:
      UserError: another family, one that is not known, keys that do not fit it, or a head that it has not.
    """
    found = _family_of(checkpoint, family)
    converter = CONVERTERS[found]
    require(checkpoint.config, converter.REQUIRED, checkpoint.where)
    view = _view(checkpoint, found, _architecture(checkpoint, found))
    wanted = converter.HEADS[view.architecture] if heads is None else heads
    check_heads(FAMILIES[found].spec(view.model, view.sizes), wanted, found)
    stored = _stored_heads(converter, view, wanted)
    labels = choose_answers(_answers(view.checkpoint.config), answers, wanted, stored, checkpoint.where)
    view = replace(view, answers=labels, sizes=replace(view.sizes, answers=max(1, len(labels))))
    spec = FAMILIES[found].spec(view.model, view.sizes)
    keys = _with_other_heads(converter, view, stored)
    params, account = read_params(view.checkpoint, keys, spec, tuple(stored), wanted)
    return Imported(found, view.architecture, view.model, view.sizes, view.answers, wanted, spec, params, account)


def export_model(
    family: str,
    model: ConfigDict,
    sizes: Given,
    architecture: str,
    params: Mapping[str, np.ndarray],
    answers: tuple[str, ...] = (),
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(tensors, `config.json`) of a model in the format of `transformers`.

    Args:
      family: name of the family.
      model: `config.model`.
      sizes: of vocabulary, answers, text and image.
      architecture: class of `transformers` to be saved for.
      params: {path: array}, those of heads that the class lacks left out.
      answers: names of the answers, in the order of their classes.

    Raises:
      UserError: the class does not exist, has no place for some parameter, or its `config.json` none for some shape.
    """
    converter = converter_of(family)
    if architecture not in converter.HEADS:
        raise UserError(
            f"family {family!r} has no class {architecture!r}; it has {', '.join(converter.HEADS)}."
            f"{nearest(architecture, converter.HEADS)}"
        )
    config = converter.config_of(model, sizes, architecture)
    config |= {"architectures": [architecture], "model_type": converter.MODEL_TYPE}
    if answers:
        config["id2label"] = {str(i): answer for i, answer in enumerate(answers)}
        config["label2id"] = {answer: i for i, answer in enumerate(answers)}
    keys = converter.name_map(model, sizes, architecture)
    tensors = export_weights(params, keys)
    written = Checkpoint(f"this {family}", Path(), tuple(tensors), tensors.__getitem__, config)
    view = _view(written, family, architecture)
    # Theirs does not know how ours lays its layers out.
    spec = replace(FAMILIES[family].spec(view.model, view.sizes), scan=model.scan_layers)
    unread = {each.ours for each in keys.entries if any(re.search(rule, each.theirs) for rule in view.keys.ignored)}
    shapes = {path: x.shape for path, x in params.items() if path not in unread}
    check_expressed(shapes, spec, f"the config.json of {architecture}", "--architecture")
    return tensors, config


def converter_of(family: str) -> ModuleType:
    """What converts a family; UserError where there is nothing."""
    if family not in CONVERTERS:
        raise UserError(f"family {family!r} cannot be converted; these can: {', '.join(CONVERTERS)}.")
    return CONVERTERS[family]


def _family_of(checkpoint: Checkpoint, expected: str) -> str:
    named = checkpoint.config.get("model_type", "")
    found = next((name for name, converter in CONVERTERS.items() if named == converter.MODEL_TYPE), "")
    if expected and expected != found:
        converter_of(expected)
        raise UserError(f"{checkpoint.where} is a {named or 'model without config.json'}, not a {expected}.")
    if not found:
        known = ", ".join(converter.MODEL_TYPE for converter in CONVERTERS.values())
        raise UserError(
            f"{checkpoint.where}: config.json names the model type {named!r}; these can be converted: {known}."
        )
    return found


def _architecture(checkpoint: Checkpoint, family: str) -> str:
    """The class that `config.json` names, or where it names none, the one that most keys belong to."""
    known = CONVERTERS[family].HEADS
    named = (checkpoint.config.get("architectures") or [""])[0]
    if named in known:
        return named
    if named:
        raise UserError(
            f"{checkpoint.where}: config.json names the class {named!r}; of this family these can be converted: "
            f"{', '.join(known)}."
        )
    views = (_view(checkpoint, family, each) for each in known)
    fit = {
        view.architecture: len(view.keys.entries) for view in views if not missing_keys(view.checkpoint.keys, view.keys)
    }
    best = [each for each, entries in fit.items() if entries == max(fit.values())]
    if len(best) != 1:
        raise UserError(
            f"{checkpoint.where}: config.json names no class, and its keys fit {' and '.join(best) or 'none'}; name "
            f"the one that it is under 'architectures': {', '.join(known)}."
        )
    return best[0]


def _view(checkpoint: Checkpoint, family: str, architecture: str) -> _View:
    converter, config = CONVERTERS[family], checkpoint.config | {"architectures": [architecture]}
    if not converter.HEADS[architecture]:
        checkpoint = _without_prefix(checkpoint, f"{converter.MODEL_TYPE}.")
    changes = converter.hyperparameters(config)
    if hasattr(converter, "of_tensors"):
        changes |= converter.of_tensors(set(checkpoint.keys), checkpoint.read, architecture)
    answers = _answers(config) if names.VQA in converter.HEADS[architecture] else ()
    model, sizes = hyperparameters(family, "base", **changes), converter.given(config, max(1, len(answers)))
    check_model(model)
    return _View(checkpoint, architecture, model, sizes, answers, converter.name_map(model, sizes, architecture))


def _without_prefix(checkpoint: Checkpoint, prefix: str) -> Checkpoint:
    """A class without heads under its own keys, where it was saved as a part of a class with heads."""
    stored = {key.removeprefix(prefix): key for key in checkpoint.keys}
    if len(stored) < len(checkpoint.keys):
        return checkpoint
    return replace(checkpoint, keys=tuple(stored), read=lambda key: checkpoint.read(stored[key]))


def _stored_heads(converter: ModuleType, view: _View, wanted: tuple[str, ...]) -> dict[str, str]:
    """{head: class that has it} of the view's own heads, and of those `wanted` that the checkpoint has beside them."""
    stored = dict.fromkeys(converter.HEADS[view.architecture], view.architecture)
    own = {entry.theirs for entry in view.keys.entries}
    for other, heads in converter.HEADS.items():
        for head in heads:
            keys = {entry.theirs for entry in _head_entries(converter, view, other, head)}
            if head in wanted and head not in stored and keys and keys <= set(view.checkpoint.keys) - own:
                stored[head] = other
    return stored


def _head_entries(converter: ModuleType, view: _View, architecture: str, head: str) -> list[Entry]:
    entries = converter.name_map(view.model, view.sizes, architecture).entries
    return [entry for entry in entries if entry.ours.startswith(f"{names.HEAD}{head}/")]


def _with_other_heads(converter: ModuleType, view: _View, stored: Mapping[str, str]) -> NameMap:
    """The view's map with the heads `stored`; it ignores others: some checkpoints were saved with those of all classes.

    Args:
      converter: of the family.
      view: of the checkpoint.
      stored: {head: class that has it}.
    """
    mine = converter.name_map(view.model, view.sizes, view.architecture)
    entries, ignored = list(mine.entries), {}
    for head, other in stored.items():
        if other != view.architecture:
            entries += _head_entries(converter, view, other, head)
    read = {entry.theirs for entry in entries}
    for other in converter.HEADS:
        keys = converter.name_map(view.model, view.sizes, other)
        of_heads = {entry.theirs for entry in keys.entries if entry.ours.startswith(names.HEAD)} | set(keys.copies)
        ignored |= {f"^{re.escape(key)}$": f"a head of {other}" for key in of_heads - read}
    return NameMap(tuple(entries), mine.copies, ignored | mine.ignored)


def _answers(config: dict[str, Any]) -> tuple[str, ...]:
    labels = config.get("id2label") or {}
    # LXMERT counts its answers apart from its labels.
    count = config.get("num_qa_labels", config.get("num_labels", len(labels) or 2))
    numbered = numbered_answers(max(count, len(labels)))
    return tuple(labels.get(str(i), labels.get(i, name)) for i, name in enumerate(numbered))
