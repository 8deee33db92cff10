"""All families by name, their named sizes, and the spec of a run's `config.model`."""

from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from vlfusion_jax.config.dump import load_plain
from vlfusion_jax.config.keys import nearest
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.layers.stack import REMAT_POLICIES
from vlfusion_jax.models.families import (
    albef,
    baselines,
    bert,
    blip,
    bridgetower,
    clip,
    lxmert,
    meter,
    plain,
    resnet,
    roberta,
    siglip,
    towers,
    uniter,
    vilbert,
    vilt,
    visualbert,
    vit,
)  # fmt: skip
from vlfusion_jax.models.families.context import with_context
from vlfusion_jax.models.families.given import ANY_GIVEN, Given
from vlfusion_jax.models.families.masked_regions import with_masked_regions
from vlfusion_jax.models.spec.inputs import ImageInput, RegionInput, TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.streams import IMAGE, TEXT
from vlfusion_jax.ops.activations import ACTIVATIONS

FAMILIES: dict[str, ModuleType] = {
    "single_stream": plain,
    "two_stream": plain,
    "cross_attention": plain,
    "vilt": vilt,
    "visualbert": visualbert,
    "lxmert": lxmert,
    "blip": blip,
    "uniter": uniter,
    "vilbert": vilbert,
    "meter": meter,
    "albef": albef,
    "bridgetower": bridgetower,
    "clip": clip,
    "siglip": siglip,
    "bert": bert,
    "roberta": roberta,
    "vit": vit,
    "resnet": resnet,
    **dict.fromkeys(baselines.NAMES, baselines),
}

# Hyperparameters that every family has.
_OF_ALL = {
    "scan_layers": True,  # one compiled layer for each stack of equal ones, parameters stacked
    "remat": "dots",  # what the backward pass computes again, see layers/stack.py
}
_CHOICES = {
    "norm": ("pre", "post"),
    "remat": ("none", *REMAT_POLICIES),
    "image_tokens": ("patch", "conv"),
    "variant": blip.VARIANTS,
    "decoder_reads": ("image", "question"),
    "bridge": ("add", "scaled_add", "interpolate"),
    "text_tower": towers.TEXT_TOWERS,
    "image_tower": towers.IMAGE_TOWERS,
    "late_weights": ("learned", "fixed"),
}
# Hyperparameters, by the end of their names, that may be 0.
_MAY_BE_ZERO = ("layers", "dropout", "position_offset", "patch_size", "region_patch")
_PAIR_TYPES = 3  # of text, first and second image
_WIDTHS = {"heads": "width", "text_heads": "text_width", "image_heads": "image_width", "cross_heads": "cross_width"}


def hyperparameters(family: str, size: str = "base", **changes: Any) -> ConfigDict:
    """`config.model` of a family in a named size, with `changes`.

    Raises:
      UserError: no such family, size or hyperparameter.
    """
    sizes = _family(family).SIZES
    if size not in sizes:
        raise UserError(f"family {family!r} has no size {size!r}; it has {', '.join(sizes)}.{nearest(size, sizes)}")
    model = {"family": family, **sizes["base"], **_OF_ALL, **sizes[size]}
    for key, value in changes.items():
        if key not in model:
            raise UserError(f"family {family!r} has no hyperparameter {key!r}.{nearest(key, model)}")
        model[key] = value
    return ConfigDict(model).lock()


def load_stored(plain: dict[str, Any], where: str) -> ConfigDict:
    """`config.dump.load_plain` for what a run or a conversion stored, keys of its family that are younger included."""

    def defaults(family: str) -> dict[str, Any]:
        return hyperparameters(family).to_dict() if family in FAMILIES else {}

    return load_plain(plain, where, defaults)


def check_model(model: ConfigDict) -> None:
    """Hold that `config.model` has the keys and types of its family, and values that make sense.

    Raises:
      UserError: naming the key.
    """
    if "family" not in model:
        raise UserError("config key 'model.family' is missing; start from a family's hyperparameters.")
    known = hyperparameters(model.family)
    for key in model:
        if key not in known:
            raise UserError(f"unknown config key 'model.{key}' of family {model.family!r}.{nearest(key, known)}")
    for key, default in known.items():
        if key not in model:
            raise UserError(f"config key 'model.{key}' is missing; family {model.family!r} needs it.")
        if type(model[key]) is not type(default):
            raise UserError(f"config key 'model.{key}' is of type {type(default).__name__}; got {model[key]!r}.")
        _check_value(f"model.{key}", key, model[key])
    for heads, width in _WIDTHS.items():
        if heads in model and model[width] % model[heads]:
            raise UserError(f"model.{width} {model[width]} does not divide by model.{heads} {model[heads]}.")


def model_spec(config: ConfigDict, num_tokens: int, num_answers: int) -> ModelSpec:
    """The model of a resolved run configuration.

    Args:
      config: see `config.schema`.
      num_tokens: size of the tokenizer's vocabulary.
      num_answers: size of the answer vocabulary.

    Raises:
      UserError: a hyperparameter is wrong, or does not fit the data.
    """
    check_model(config.model)
    lengths = text_lengths(config.data)
    lengths[names.ANSWER] = max(lengths[names.ANSWER], config.data.answer_length)
    longest = max([lengths[task] for task in lengths if config.tasks[task].weight > 0], default=1)
    given = Given(
        num_tokens, max(1, num_answers), longest, tuple(config.data.image_size), config.tasks.vqa.hidden,
        config.data.regions,
    )  # fmt: skip
    spec = FAMILIES[config.model.family].spec(config.model, given)
    _check_fit(spec, given)
    if config.tasks.nlvr.weight > 0:
        _check_pairs(spec)
    spec = with_masked_regions(spec, config.tasks.mrm) if config.tasks.mrm.weight else spec
    return with_context(spec, config.tasks.context.width) if config.tasks.context.weight else spec


def answers_questions(model: ConfigDict) -> bool:
    """Whether the model of `config.model` reads text and image and picks an answer."""
    spec = _family(model.family).spec(model, ANY_GIVEN)
    return names.VQA in dict(spec.heads) and {TEXT, IMAGE} <= {each.stream for each in spec.inputs}


def text_lengths(data: Any) -> dict[str, int]:
    """Padded tokens of the text that each task reads, from `config.data`."""
    asked = (names.VQA, names.ANSWER, names.NLVR)
    return {task: data.question_length if task in asked else data.caption_length for task in names.TASKS}


def _family(name: str) -> ModuleType:
    if name not in FAMILIES:
        raise UserError(f"model.family is {name!r}; it must be one of {', '.join(FAMILIES)}.{nearest(name, FAMILIES)}")
    return FAMILIES[name]


def _check_value(where: str, key: str, value: Any) -> None:
    choices = _CHOICES.get(key, tuple(ACTIVATIONS) if key.endswith("activation") else None)
    if choices and value not in choices:
        raise UserError(f"{where} is {value!r}; it must be one of {', '.join(choices)}.{nearest(value, choices)}")
    if key.endswith("dropout") and not 0 <= value < 1:
        raise UserError(f"{where} is {value!r}; it must be at least 0 and below 1.")
    kind, numbers = (float, "numbers") if key.startswith("pixel_") else (int, "whole numbers")
    least = "of at least 0" if key == "pixel_mean" else "above 0"  # a mean of 0: pixels as they are
    if isinstance(value, tuple) and not (
        value and all(type(item) is kind and (item > 0 or (key == "pixel_mean" and item == 0)) for item in value)
    ):
        raise UserError(f"{where} is {value!r}; it must be a tuple of one or more {numbers} {least}.")
    if type(value) in (int, float):
        zero = key.endswith(_MAY_BE_ZERO)
        if value < 0 or (value == 0 and not zero):
            raise UserError(f"{where} is {value!r}; it must {'not be negative' if zero else 'be greater than 0'}.")


def _check_fit(spec: ModelSpec, given: Given) -> None:
    for each in spec.inputs:
        if isinstance(each, TextInput) and given.text_length > each.room:
            raise UserError(
                f"texts have {given.text_length} tokens, but this model reads at most {each.room}: lower "
                "data.question_length, data.caption_length and data.answer_length."
            )
        if isinstance(each, ImageInput) and not each.count - each.cls:
            raise UserError(
                f"data.image_size {each.size} is smaller than one cell of the image tower {each.tokens!r}: enlarge "
                "it, or choose another tower."
            )
        patched = isinstance(each, RegionInput) or (isinstance(each, ImageInput) and each.tokens == "patch")
        if patched and each.patch and any(side % each.patch for side in each.size):
            of_regions = isinstance(each, RegionInput)
            key, other = ("region_patch", "") if of_regions else ("patch_size", ", or use model.image_tokens='conv'")
            raise UserError(
                f"data.image_size {each.size} does not divide by model.{key} {each.patch}; change one of them{other}."
            )
    # Where vectors are pooled of both, text and image may meet without any; a convolutional tower alone has no steps.
    if spec.steps and len(spec.pools) < 2 and not any(getattr(step, "layers", 0) for step in spec.steps):
        raise UserError("the model has no layers: set model.layers, or model.cross_layers, above 0.")


def _check_pairs(spec: ModelSpec) -> None:
    """Hold that a model which tells images by their types has one for the second of a pair."""
    if 0 < spec.modalities < _PAIR_TYPES:
        raise UserError(f"model.modalities is {spec.modalities}; with tasks.nlvr it must be {_PAIR_TYPES}.")
    for each in spec.inputs:
        by_text = isinstance(each, RegionInput) and each.form == "uniter"
        if by_text and spec.input(TEXT).types < _PAIR_TYPES:
            raise UserError(f"model.token_types is {spec.input(TEXT).types}; with tasks.nlvr it must be {_PAIR_TYPES}.")
