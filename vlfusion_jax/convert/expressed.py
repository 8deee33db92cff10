"""Whether another format can say what a model is."""

from collections.abc import Mapping

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.names import HEAD
from vlfusion_jax.models.parameters import param_shapes
from vlfusion_jax.models.spec.model import ModelSpec


def check_expressed(shapes: Mapping[str, tuple[int, ...]], spec: ModelSpec, written: str, flag: str) -> None:
    """Hold that a model has the parameters of the one that is read from what was written of it.

    Args:
      shapes: {path: shape} of the model's parameters, without those that reading ignores.
      spec: of the model that is read.
      written: what says its sizes, for messages.
      flag: that leaves heads out, for messages.

    Raises:
      UserError: naming each parameter that differs, with both shapes.
    """
    parts = {path.partition("/")[0] for path in shapes}
    expected = param_shapes(spec, tuple(sorted(part.removeprefix(HEAD) for part in parts if part.startswith(HEAD))))
    differ = [path for path in sorted(shapes.keys() | expected.keys()) if shapes.get(path) != expected.get(path)]
    if differ:
        lines = [f"{path}: {_shape(shapes.get(path))} here, {_shape(expected.get(path))} there" for path in differ]
        raise UserError(
            f"{written} cannot say what this model is: one made from it has other parameters. Leave the head out by "
            f"{flag} if it is the head that differs, or train what it can say, such as square images, a "
            "detector's regions (model.region_patch=0), tasks.vqa.hidden=0.\n  " + "\n  ".join(lines)
        )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else str(list(shape))
