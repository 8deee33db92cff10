"""Convolutional towers whose last map is read as a grid of tokens: ResNet and VGG.

After every convolution and pooling, cells that no real pixel falls into are set to zero, so that a valid cell sees what
it sees at the border of an image, whatever surrounds the image on its canvas. An image that fills the canvas gives the
numbers of the original networks. One that does not gives those that it has alone, in ResNet, whose maps are rounded up;
in VGG only where its sides divide by the stride: VGG alone drops what no window fits into, here such a window counts
where a pixel of it is real.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from vlfusion_jax.core import names
from vlfusion_jax.core.partitioned import with_axes
from vlfusion_jax.layers.projection import Projection
from vlfusion_jax.ops.masks import pool_mask

# Mean and deviation of ImageNet's channels, which these networks were made for.
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_RESNET, _VGG = (64, 256, 512, 1024, 2048), (64, 128, 256, 512, 512)
# Kind, layers of each stage, and channels (ResNet: of the stem, then of each stage) of the published networks.
TOWERS: dict[str, dict[str, Any]] = {
    "resnet50": {"tokens": "resnet", "depths": (3, 4, 6, 3), "channels": _RESNET},
    "resnet101": {"tokens": "resnet", "depths": (3, 4, 23, 3), "channels": _RESNET},
    "resnet152": {"tokens": "resnet", "depths": (3, 8, 36, 3), "channels": _RESNET},
    "vgg16": {"tokens": "vgg", "depths": (2, 2, 3, 3, 3), "channels": _VGG},
}
BATCH_NORM_EPSILON = 1e-5
REDUCTION = 4  # channels of a bottleneck's result over those inside it

Map = tuple[jax.Array, jax.Array]  # [images, rows, columns, channels] and its mask [images, rows, columns]


class GridTokens(nn.Module):
    """The cells of a tower's last map as tokens, in raster order.

    Attributes:
      kind: `resnet` or `vgg`.
      depths, channels: see `ResNet` and `Vgg`.
      width: that the cells are mapped to; 0 = they are left as they are.
    """

    kind: str
    depths: tuple[int, ...]
    channels: tuple[int, ...]
    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pixels_nhwc: jax.Array, mask_nhw: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Pixels [images, height, width, 3] and mask → tokens [images, cells, width], their mask [images, cells]."""
        tower = {"resnet": ResNet, "vgg": Vgg}[self.kind](self.depths, self.channels, self.dtype, name=self.kind)
        x, mask_nhw = tower(pixels_nhwc, mask_nhw)[-1]
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])
        if self.width:
            tokens = Projection(
                "ntc,cd->ntd", (x.shape[-1], self.width), (names.PIXELS, names.EMBED),
                (self.width,), (names.EMBED,), dtype=self.dtype, name="projection",
            )(tokens)  # fmt: skip
        return tokens, mask_nhw.reshape(x.shape[0], -1)


class ResNet(nn.Module):
    """ResNet of bottlenecks (He et al. 2016, table 1), with the stride at the 3x3 convolution ("v1.5").

    Attributes:
      depths: bottlenecks of each stage; every stage but the first halves the resolution.
      channels: of the stem, then of each stage.
    """

    depths: tuple[int, ...]
    channels: tuple[int, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pixels_nhwc: jax.Array, mask_nhw: jax.Array) -> list[Map]:
        """The map behind the stem, then that of each stage."""
        mask = pool_mask(mask_nhw, 2)
        x = _inside(nn.relu(ConvNorm(self.channels[0], 7, 2, dtype=self.dtype, name="stem")(pixels_nhwc)), mask)
        # Nothing is below zero: a padded cell, being zero, never is the largest.
        mask = pool_mask(mask, 2)
        maps = [(_inside(nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))), mask), mask)]
        for stage, (depth, features) in enumerate(zip(self.depths, self.channels[1:], strict=True)):
            x, mask = maps[-1]
            for i in range(depth):
                stride = 2 if stage and not i else 1
                block = Bottleneck(features, stride, self.dtype, name=f"stage_{stage}_block_{i}")
                x, mask = block(x, mask)
            maps.append((x, mask))
        return maps


class Bottleneck(nn.Module):
    """Convolutions of 1x1, 3x3 and 1x1 beside a shortcut, which is a convolution where shapes differ."""

    features: int
    stride: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> Map:
        inner = self.features // REDUCTION
        branch = _inside(nn.relu(ConvNorm(inner, 1, dtype=self.dtype, name="conv_0")(x)), mask)
        mask = pool_mask(mask, self.stride)
        branch = _inside(nn.relu(ConvNorm(inner, 3, self.stride, dtype=self.dtype, name="conv_1")(branch)), mask)
        branch = ConvNorm(self.features, 1, zero_scale=True, dtype=self.dtype, name="conv_2")(branch)
        if self.stride > 1 or x.shape[-1] != self.features:
            x = ConvNorm(self.features, 1, self.stride, dtype=self.dtype, name="shortcut")(x)
        return _inside(nn.relu(x + branch), mask), mask


class ConvNorm(nn.Module):
    """A convolution, then batch normalisation by stored statistics (Ioffe and Szegedy 2015, algorithm 2, step 11).

    The statistics are those of a checkpoint, else 0 and 1, and never trained: a row does not depend on the others of
    its batch.

    Attributes:
      features: channels of the result.
      window: side of the kernel.
      stride: of the convolution.
      zero_scale: begin at zero, so that a residual block begins as its shortcut and depth does not add up variance
        (Goyal et al. 2017, section 5.1).
    """

    features: int
    window: int
    stride: int = 1
    zero_scale: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def vector(name: str, value: float) -> jax.Array:
            init = with_axes(nn.initializers.constant(value), names.EMBED)
            return self.param(name, init, (self.features,), jnp.float32)

        scale, bias = vector("scale", 0.0 if self.zero_scale else 1.0), vector("bias", 0.0)
        mean, variance = (jax.lax.stop_gradient(vector(*each)) for each in (("mean", 0.0), ("variance", 1.0)))
        factor = scale * jax.lax.rsqrt(variance + BATCH_NORM_EPSILON)
        x = _convolve(self, x, self.features, self.window, self.stride)
        return x * factor.astype(self.dtype) + (bias - mean * factor).astype(self.dtype)


class Vgg(nn.Module):
    """VGG without its fully connected layers (Simonyan and Zisserman 2015, table 1, column D being VGG-16).

    Attributes:
      depths: 3x3 convolutions of each stage, which ends in a pooling that halves the resolution.
      channels: of each stage.
    """

    depths: tuple[int, ...]
    channels: tuple[int, ...]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, pixels_nhwc: jax.Array, mask_nhw: jax.Array) -> list[Map]:
        """The map of each stage."""
        x, mask, maps = pixels_nhwc, mask_nhw, []
        for stage, (depth, features) in enumerate(zip(self.depths, self.channels, strict=True)):
            for i in range(depth):
                conv = ConvBias(features, 3, self.dtype, name=f"stage_{stage}_conv_{i}")
                x = _inside(nn.relu(conv(x)), mask)
            x = nn.max_pool(x, (2, 2), (2, 2))
            mask = pool_mask(mask[:, : 2 * x.shape[1], : 2 * x.shape[2]], 2)
            maps.append((x, mask))
        return maps


class ConvBias(nn.Module):
    """A convolution of stride 1 with a bias."""

    features: int
    window: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = _convolve(self, x, self.features, self.window, 1)
        bias = self.param("bias", with_axes(nn.initializers.zeros_init(), names.EMBED), (self.features,), jnp.float32)
        return x + bias.astype(self.dtype)


def _convolve(module: nn.Module, x: jax.Array, features: int, window: int, stride: int) -> jax.Array:
    """`x` convolved with the `kernel` of `module`, padded by half a window; initialised as He et al. 2015."""
    init = with_axes(nn.initializers.he_normal(), names.WINDOW, names.WINDOW, names.PIXELS, names.EMBED)
    kernel = module.param("kernel", init, (window, window, x.shape[-1], features), jnp.float32)
    pad = (window // 2, window // 2)
    return jax.lax.conv_general_dilated(
        x.astype(module.dtype), kernel.astype(module.dtype), (stride, stride), (pad, pad),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip


def _inside(x: jax.Array, mask_nhw: jax.Array) -> jax.Array:
    """`x`, zero where padded."""
    return x * mask_nhw[..., None].astype(x.dtype)
