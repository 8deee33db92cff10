"""What drawing a model's fused vector towards a given one adds to it: a projection to the width of that one."""

from dataclasses import replace

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.spec.heads import ClassHead
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.models.spec.streams import IMAGE, TEXT


def with_context(spec: ModelSpec, width: int) -> ModelSpec:
    """The model of a family with the head `context`, one projection of the fused vector to `width` numbers.

    Raises:
      UserError: the model has no fused vector.
    """
    if not spec.pools or not {TEXT, IMAGE} <= {each.stream for each in spec.inputs}:
        raise UserError(
            "task context reads one vector of image and text, but the model has none: choose another model.family "
            "(albef with model.decoder_layers and vilt with model.prefix_lm write captions as well), or set "
            "tasks.context.weight=0."
        )
    return replace(spec, heads=tuple(sorted((*spec.heads, (names.CONTEXT, ClassHead(width))))))
