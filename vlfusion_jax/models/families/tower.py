"""A tower: what reads one modality alone, as the families of one tower have it and others build on it."""

from typing import NamedTuple

from vlfusion_jax.layers.block import Stage
from vlfusion_jax.models.spec.inputs import ImageInput, RegionInput, TextInput
from vlfusion_jax.models.spec.steps import Recurrent, Step, Transform


class Tower(NamedTuple):
    """An input, the layers over its stream, and what stands behind the last of them.

    Parameters are known by the names of these parts: towers that shall start from one another's have the same.
    """

    input: TextInput | ImageInput | RegionInput
    layers: Stage | Recurrent | None = None
    end: tuple[Transform, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        """All that follows the input; no layers are no step."""
        return ((self.layers,) if self.layers and self.layers.layers else ()) + self.end
