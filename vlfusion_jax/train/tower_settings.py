"""What towers and the layers behind them compute beyond their parameters, whose names and shapes it leaves alone."""

from typing import Any

from ml_collections import ConfigDict

from vlfusion_jax.layers.block import Stage
from vlfusion_jax.layers.convnet import TOWERS
from vlfusion_jax.models.families.given import ANY_GIVEN
from vlfusion_jax.models.families.table import FAMILIES
from vlfusion_jax.models.spec.inputs import ImageInput, Input, RegionInput, TextInput
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.steps import Transform

FUSION = "fusion"
_GRIDS = {tower["tokens"] for tower in TOWERS.values()}


def differing_settings(there: ConfigDict, here: ConfigDict, side: str) -> list[str]:
    """Lines about what differs on `side` between two models, with what would make it equal.

    Args:
      there: `config.model` that the parameters were trained with.
      here: `config.model` that shall have them.
      side: `text` or `image` for that tower, `fusion` for the layers behind both.
    """
    wanted, own = _settings_of(there, side), _settings_of(here, side)
    lines = []
    common = [(each, name) for each in wanted if each in own for name in wanted[each] | own[each]]
    for part, name in common:
        value, present = wanted[part].get(name), own[part].get(name)
        if value != present:
            key = _key_of(part, name, value, here, side)
            advice = f"set model.{key}={value!r}" if key else "no key of this config sets it: take another source"
            lines.append(f"{side} {part} {name}: {value!r} in the checkpoint, {present!r} in the model: {advice}")
    return lines


def _settings_of(model: ConfigDict, side: str) -> dict[str, dict[str, Any]]:
    """{part of a side that the model has: {hyperparameter: value}}; a norm's epsilon is None where there is none."""
    spec: ModelSpec = FAMILIES[model.family].spec(model, ANY_GIVEN)
    found: dict[str, dict[str, Any]] = {}
    for each in spec.inputs:
        if each.stream == side:
            found["input"] = _of_input(each)
    for step in spec.steps:
        if isinstance(step, Stage) and step.name.startswith(FUSION if side == FUSION else f"{side}_layers"):
            for i, block in enumerate(step.blocks):
                found[f"layers {step.streams[i]}" if len(step.blocks) > 1 else "layers"] = {
                    "norm": block.norm, "norm_epsilon": block.norm_epsilon,
                    "activation": block.activation, "causal": step.causal,
                }  # fmt: skip
        elif isinstance(step, Transform) and step.name == f"{side}_norm":
            found["end"] = {"norm_epsilon": step.norm_out}
    return found


def _of_input(given: Input) -> dict[str, Any]:
    if isinstance(given, TextInput):
        return {"norm_epsilon": given.epsilon, "position_offset": given.position_offset}
    if isinstance(given, RegionInput):
        return {"form": given.form, "norm_epsilon": given.epsilon}
    if not isinstance(given, ImageInput):
        return {}
    pixels = {"pixel_mean": given.mean, "pixel_std": given.std}
    if given.tokens in _GRIDS:  # what stands behind the last map, positions and norm, is the model's own
        return pixels
    # Positions from sines and cosines are learned ones that begin there.
    positions = "learned" if given.positions == "sincos" else given.positions
    return {"norm_epsilon": given.epsilon, "positions": positions} | pixels


def _key_of(part: str, name: str, value: Any, model: ConfigDict, side: str) -> str:
    """The key of `config.model` that gives a setting this value; '' = there is none, as where a family fixes it."""
    for key in (f"{side}_{name}", name):
        # No key takes None, which stands for a norm that is not there.
        if key in model and type(model[key]) is type(value):
            changed = ConfigDict(model.to_dict() | {key: value}).lock()
            if _settings_of(changed, side).get(part, {}).get(name) == value:
                return key
    return ""
