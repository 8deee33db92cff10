"""What a tower computes beyond its parameters: settings that leave their names and shapes as they are."""

from typing import Any

from ml_collections import ConfigDict

from vlfusion_jax.layers.block import Stage
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES
from vlfusion_jax.models.spec.inputs import ImageInput, TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.steps import Transform

_GIVEN = Given(vocab=8, answers=2, text_length=8, image_size=(64, 64))  # none of these settings depends on it


def differing_settings(there: ConfigDict, here: ConfigDict, side: str) -> list[str]:
    """Lines about what differs in the tower of `side` between two models, with what would make it equal.

    Args:
      there: `config.model` that the parameters were trained with.
      here: `config.model` that shall have them.
      side: `text` or `image`.
    """
    wanted, own = _settings_of(there, side), _settings_of(here, side)
    lines = []
    for name, value in wanted.items():
        if name in own and own[name] != value:
            key = _key_of(name, value, here, side)
            advice = f"set model.{key}={value!r}" if key else "no key of this config sets it: take another source"
            lines.append(f"{side} {name}: {value!r} in the checkpoint, {own[name]!r} in the model: {advice}")
    return lines


def _settings_of(model: ConfigDict, side: str) -> dict[str, Any]:
    """{part and hyperparameter: value} of a tower, without those of parts that it has not."""
    spec: ModelSpec = FAMILIES[model.family].spec(model, _GIVEN)
    found: dict[str, Any] = {}
    for each in spec.inputs:
        if each.stream == side and isinstance(each, TextInput):
            found |= {"input norm_epsilon": each.epsilon, "input position_offset": each.position_offset}
        elif each.stream == side and isinstance(each, ImageInput):
            found |= {"input norm_epsilon": each.epsilon, "input pixel_mean": each.mean, "input pixel_std": each.std}
    for step in spec.steps:
        if isinstance(step, Stage) and step.name == f"{side}_layers":
            [block] = step.blocks
            found |= {
                "layers norm": block.norm, "layers norm_epsilon": block.norm_epsilon,
                "layers activation": block.activation, "layers causal": step.causal,
            }  # fmt: skip
        elif isinstance(step, Transform) and step.name == f"{side}_norm":
            found["end norm_epsilon"] = step.norm_out
    return {name: value for name, value in found.items() if value is not None}


def _key_of(name: str, value: Any, model: ConfigDict, side: str) -> str:
    """The key of `config.model` that gives a setting this value; '' = there is none, as where a family fixes it."""
    setting = name.rpartition(" ")[2]
    for key in (f"{side}_{setting}", setting):
        if key in model:
            changed = ConfigDict(model.to_dict() | {key: value}).lock()
            if _settings_of(changed, side)[name] == value:
                return key
    return ""
