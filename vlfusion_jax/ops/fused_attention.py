"""Attention by kernels of one platform, for what `ops.attention` computes without dropout."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from vlfusion_jax.core import names
from vlfusion_jax.core.arithmetic import round_up
from vlfusion_jax.core.errors import UserError

_LANES = 128
_CUDNN_WIDTH = 256  # from Hopper on; before, 128, which cuDNN says itself


def splash_attention(
    query_bhqd: jax.Array, key_bhkd: jax.Array, value_bhkd: jax.Array, mask_bk: jax.Array, *, causal: bool = False
) -> jax.Array:
    """JAX's Splash Attention, a Pallas kernel for TPU (block-sparse FlashAttention, Dao et al. 2022).

    Queries and keys are padded to multiples of 128, keys that the mask leaves out are another segment. Arguments and
    result are those of `ops.attention.dot_product_attention`.
    """
    # Imported here: Pallas takes a second to import, and few runs use it.
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel, splash_attention_mask

    heads, queries, keys = query_bhqd.shape[1], query_bhqd.shape[2], key_bhkd.shape[2]
    query = _padded(query_bhqd * query_bhqd.shape[-1] ** -0.5, _LANES)
    key, value = _padded(key_bhkd, _LANES), _padded(value_bhkd, _LANES)
    shape = (query.shape[2], key.shape[2])
    one = splash_attention_mask.CausalMask(shape) if causal else splash_attention_mask.FullMask(shape)
    blocks = splash_attention_kernel.BlockSizes(**dict.fromkeys(_QUERY_BLOCKS, _block(shape[0])),
                                                **dict.fromkeys(_KEY_BLOCKS, _block(shape[1])))  # fmt: skip
    kernel = splash_attention_kernel.make_splash_mha_single_device(
        splash_attention_mask.MultiHeadMask([one] * heads),
        block_sizes=blocks,
        residual_checkpoint_name=names.ATTENDED,
    )
    some = (mask_bk > 0).any(-1)
    # The kernel divides by the sum over what is kept, so something is, of what is set to zero behind it.
    seen = jnp.where(some[:, None], mask_bk > 0, True)
    segments = splash_attention_kernel.SegmentIds(
        jnp.ones((len(query), shape[0]), jnp.int32), jnp.pad(seen, ((0, 0), (0, shape[1] - keys))).astype(jnp.int32)
    )
    attended = jax.vmap(kernel)(query, key, value, segments)[:, :, :queries]
    return jnp.where(some[:, None, None, None], attended, 0).astype(value_bhkd.dtype)


_QUERY_BLOCKS = ("block_q", "block_q_dkv", "block_q_dq")
_KEY_BLOCKS = ("block_kv", "block_kv_compute", "block_kv_dkv", "block_kv_dkv_compute", "block_kv_dq")


def _padded(x_bhtd: jax.Array, multiple: int) -> jax.Array:
    """With zeros behind the tokens, up to a multiple."""
    tokens = x_bhtd.shape[2]
    return jnp.pad(x_bhtd, ((0, 0), (0, 0), (0, round_up(tokens, multiple) - tokens), (0, 0)))


def _block(size: int) -> int:
    """The largest block of at most 512 that divides a padded length."""
    return next(block for block in range(4 * _LANES, 0, -_LANES) if size % block == 0)


def jax_attention(
    implementation: str,
    query_bhqd: jax.Array,
    key_bhkd: jax.Array,
    value_bhkd: jax.Array,
    mask_bk: jax.Array,
    *,
    causal: bool = False,
) -> jax.Array:
    """`jax.nn.dot_product_attention` by an implementation; `cudnn` wants a GPU and 16 bits a number.

    Its backward pass wants even numbers of queries and keys, to which they are padded, and a mask for every query.

    Raises:
      UserError: heads of a width that cuDNN does not know.
    """
    queries, width = query_bhqd.shape[2:]
    if implementation == "cudnn" and (width % 8 or width > _CUDNN_WIDTH):
        raise UserError(
            f"attention='cudnn' wants heads whose width divides by 8 and is at most {_CUDNN_WIDTH}, these are {width} "
            "wide: set attention=xla, or another model.heads."
        )
    query, key, value = (_padded(x, 2).swapaxes(1, 2) for x in (query_bhqd, key_bhkd, value_bhkd))
    some = (mask_bk > 0).any(-1)
    keep = jnp.where(some[:, None], mask_bk > 0, True)
    keep = jnp.pad(keep, ((0, 0), (0, key.shape[1] - keep.shape[1])))
    every = jnp.broadcast_to(keep[:, None, None, :], (len(query), 1, query.shape[1], key.shape[1]))
    settings: dict[str, Any] = {"is_causal": causal, "implementation": implementation}
    attended = jax.nn.dot_product_attention(query, key, value, mask=every, **settings).swapaxes(1, 2)[:, :, :queries]
    return jnp.where(some[:, None, None, None], attended, 0).astype(value_bhkd.dtype)


# By setting: where it runs, and what computes it.
KERNELS = {
    "splash": ("tpu", splash_attention),
    "cudnn": ("gpu", partial(jax_attention, "cudnn")),
}
