"""Many equal layers: scanned or unrolled, recomputed in the backward pass or not."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.layers.block import FusionLayer, Stage

_policies = jax.checkpoint_policies
_OF_LITTLE_SIZE = (names.SOFTMAX, names.NORM, names.ATTENDED)
_MASKS_TOO = (*_OF_LITTLE_SIZE, names.DROPOUT)
_CHEAP = _policies.save_only_these_names(*_MASKS_TOO)
# What the backward pass finds in memory instead of computing it again.
REMAT_POLICIES = {
    "dots": _policies.save_from_both_policies(_policies.dots_saveable, _CHEAP),
    "dots_redrawn": _policies.save_from_both_policies(
        _policies.dots_saveable, _policies.save_only_these_names(*_OF_LITTLE_SIZE)
    ),
    "dots_no_batch": _policies.save_from_both_policies(_policies.dots_with_no_batch_dims_saveable, _CHEAP),
    "names": _policies.save_only_these_names(*_MASKS_TOO, names.EXPANDED),
    "offload": _policies.save_and_offload_only_these_names(
        names_which_can_be_saved=list(_MASKS_TOO),
        names_which_can_be_offloaded=[names.QKV, names.EXPANDED],
        offload_src="device",
        offload_dst="pinned_host",
    ),
    "full": None,
}


class Stack(nn.Module):
    """The layers of a stage.

    Attributes:
      scan: stack the parameters and scan over them: one compiled layer whatever the depth.
      remat: what the backward pass computes again, beside scores: nothing (`none`); what is no matrix product (`dots`),
        dropout's masks with it (`dots_redrawn`: less memory, and on TPU less time), or also products of two
        activations, wherever a layer has some beside attention (`dots_no_batch`); all but the hidden units of the MLP
        and what attention gave (`names`); all but the inputs of each layer (`full`). `offload` is as `names` with
        queries, keys and values, which are in the host's memory meanwhile, and so are hidden units.
    """

    stage: Stage
    scan: bool
    remat: str
    train: bool
    capture: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: dict[str, jax.Array], masks: dict[str, jax.Array], places: jax.Array | None = None
    ) -> tuple[dict[str, jax.Array], dict]:
        """As `FusionLayer`; what is captured has a leading dim over the layers, and scanned what is cached."""
        if not self.stage.layers:
            return x, {}
        layer = FusionLayer
        if self.remat != "none":
            layer = nn.remat(layer, policy=REMAT_POLICIES[self.remat], prevent_cse=not self.scan)
        settings = (self.stage, self.train, self.capture, self.dtype)
        if self.scan:
            scanned = nn.scan(
                layer,
                variable_axes={names.PARAMS: 0, names.CACHE: 0, names.CROSS_CACHE: 0},
                split_rngs={names.PARAMS: True, names.DROPOUT: True},
                in_axes=nn.broadcast,
                length=self.stage.layers,
                metadata_params={nn.PARTITION_NAME: names.LAYERS},
            )
            return scanned(*settings, name="layers")(x, masks, places)
        captured = []
        for i in range(self.stage.layers):
            x, extra = layer(*settings, name=f"layer_{i}")(x, masks, places)
            captured.append(extra)
        return x, jax.tree.map(lambda *layers: jnp.stack(layers), *captured)
