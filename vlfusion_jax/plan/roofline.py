"""The least time that a device needs for the kernels of a program: a bound, not a prediction.

By Williams, Waterman and Patterson 2009, "Roofline: an insightful visual performance model for multicore
architectures", a kernel takes as long as its FLOPs at the peak rate, or as its bytes at the bandwidth of the main
memory where that is longer. Assumed is that
- kernels run one after the other, and starting one takes no time,
- each reads its operands from main memory and writes its results there, once, whatever a cache may hold,
- products run at the peak of their dtype, and all other arithmetic is hidden behind memory.

Large products come out at the peak exactly; measured ones do not. What a table of these times is good for is the order
of programs, and how much of a measured time could be saved at most.
"""

from collections.abc import Sequence

from vlfusion_jax.core.hardware import Device
from vlfusion_jax.plan.kernels import Kernel


def roofline(found: Sequence[Kernel], device: Device) -> float:
    """Seconds of one call of a program of these kernels.

    Raises:
      ValueError: the bandwidth of the device's memory is not known.
    """
    if not device.memory_bandwidth:
        raise ValueError("no roofline: the bandwidth of this device's memory is not known")
    return sum(each.times * kernel_seconds(each, device) for each in found)


def kernel_seconds(kernel: Kernel, device: Device) -> float:
    """Of one run; products of f32 as JAX computes them by default: as TF32 where the device can, else in bf16."""
    peak = device.peak_tf32_flops if kernel.bits >= 32 and device.peak_tf32_flops else device.peak_bf16_flops
    return max(kernel.flops / peak, kernel.bytes / device.memory_bandwidth)
