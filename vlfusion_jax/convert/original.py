"""Models from and to checkpoints of the papers' own repositories, which have no `config.json`.

Such a checkpoint is tensors alone. Vocabulary, answers and heads are read off them; what they do not tell, the caller
does: the family and, where they are not those of its base size, the size and single hyperparameters.

    import_original(open_checkpoint("uniter-base.pt"), "uniter")
    import_original(open_checkpoint("mine.pt"), "uniter", "large", {"layers": 12})

A converter of this kind is a module of `convert.families`, named in `ORIGINALS`, with

    HEADS     {head of ours: a key that only a checkpoint with this head has}
    given     (size_of, heads, model) -> `Given`: what the tensors decide, `size_of` being a function from a key to the
              number of rows of its tensor (of dim 1: `size_of(key, 1)`), `heads` those found, `model` our
              hyperparameters
    name_map  (model, sizes, heads) -> `NameMap` of a checkpoint with these heads
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vlfusion_jax.config.keys import nearest
from vlfusion_jax.convert.answers import choose_answers, numbered_answers
from vlfusion_jax.convert.expressed import check_expressed
from vlfusion_jax.convert.families import albef, meter, uniter, vilbert
from vlfusion_jax.convert.heads import check_heads, read_params
from vlfusion_jax.convert.hugging_face import Imported
from vlfusion_jax.convert.source import Checkpoint
from vlfusion_jax.convert.weights import export_weights
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters

# What converts each family, by the family's name.
ORIGINALS: dict[str, ModuleType] = {"uniter": uniter, "vilbert": vilbert, "meter": meter, "albef": albef}
# Hyperparameters that a file beside the tensors has.
_ELSEWHERE = {"pixel_mean", "pixel_std"}


def import_original(
    checkpoint: Checkpoint,
    family: str,
    size: str = "base",
    changes: Mapping[str, Any] = MappingProxyType({}),
    heads: tuple[str, ...] | None = None,
    answers: tuple[str, ...] = (),
) -> Imported:
    """The model of a checkpoint without `config.json`, in our parameters.

    Args:
      checkpoint: see `source.open_checkpoint`.
      family: name of the family.
      size: named size of the family whose hyperparameters the checkpoint has.
      changes: hyperparameters that differ from those of `size`.
      heads: that the model shall have; those that the checkpoint lacks start fresh. None = those that it has.
      answers: names of the answers.

    Raises:
      UserError: no such family, size, hyperparameter or head, or keys that do not fit.
    """
    converter, keys = original_of(family), set(checkpoint.keys)

    def size_of(key: str, dim: int = 0) -> int:
        if key not in keys:
            raise UserError(f"{checkpoint.where} is not a {family}: it has no key {key}.")
        return checkpoint.read(key).shape[dim]

    model = hyperparameters(family, size, **changes)
    own_heads = tuple(head for head, key in converter.HEADS.items() if key in keys)
    sizes = converter.given(size_of, own_heads, model)
    wanted = own_heads if heads is None else heads
    check_heads(FAMILIES[family].spec(model, sizes), wanted, family)
    found = numbered_answers(sizes.answers) if names.VQA in own_heads else ()
    labels = choose_answers(found, answers, wanted, own_heads, checkpoint.where)
    sizes = replace(sizes, answers=max(1, len(labels)))
    spec = FAMILIES[family].spec(model, sizes)
    params, account = read_params(checkpoint, converter.name_map(model, sizes, own_heads), spec, own_heads, wanted)
    return Imported(family, "", model, sizes, labels, wanted, spec, params, account)


def export_original(
    family: str, model: ConfigDict, sizes: Given, heads: tuple[str, ...], params: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Tensors of a model with `heads` under the keys of the paper's own repository.

    Args:
      family: name of the family.
      model: `config.model`.
      sizes: of vocabulary, answers, text and image.
      heads: names of the heads in `params`.
      params: {path: array}.

    Raises:
      UserError: the other format has no place for some head, parameter or shape.
    """
    converter = original_of(family)
    unknown = [head for head in heads if head not in converter.HEADS]
    if unknown:
        raise UserError(
            f"a checkpoint of {family!r} has no head {unknown[0]!r}; it may have {', '.join(converter.HEADS)}."
            f"{nearest(unknown[0], converter.HEADS)}"
        )
    if model.get("region_patch"):
        raise UserError(
            f"a checkpoint of the authors of {family} reads a detector's regions, this model patches of its images: "
            "train it with model.region_patch=0."
        )
    tensors = export_weights(params, converter.name_map(model, sizes, heads))
    read = converter.given(lambda key, dim=0: tensors[key].shape[dim], heads, model)
    shapes = {path: array.shape for path, array in params.items()}
    check_expressed(shapes, FAMILIES[family].spec(model, read), f"a checkpoint of the authors of {family}", "--heads")
    return tensors


def read_back(model: ConfigDict) -> str:
    """How a checkpoint of a model of `config.model` is read, which has no configuration: a line of a report.

    Of the pixels' statistics it says nothing: they are read from `preprocessor_config.json`.
    """

    def changes(size: str) -> dict[str, Any]:
        named = hyperparameters(model.family, size, scan_layers=model.scan_layers, remat=model.remat)
        return {key: model[key] for key in sorted(set(model) - _ELSEWHERE) if model[key] != named[key]}

    size = min(FAMILIES[model.family].SIZES, key=lambda size: len(changes(size)))
    differ = ", ".join(f"{key}={value!r}" for key, value in changes(size).items())
    but = f"; what differs from that size only import_original(…, changes=…) takes: {differ}" if differ else ""
    return f"no config.json: read it by --family={model.family} --size={size}{but}"


def original_of(family: str) -> ModuleType:
    """What converts a family; UserError where there is nothing."""
    if family not in ORIGINALS:
        raise UserError(
            f"family {family!r} has no checkpoints without config.json that could be converted; these have: "
            f"{', '.join(ORIGINALS)}."
        )
    return ORIGINALS[family]
