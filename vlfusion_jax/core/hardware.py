"""What is known of devices, by the `device_kind` that JAX reports.

TPUs: cloud.google.com/tpu/docs, the page of each version; GPUs: NVIDIA's data sheets. What is not known is None, and
nothing derived from it is then reported.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """Published figures of one device.

    Attributes:
      peak_bf16_flops: dense, in FLOP/s.
      memory_bytes: of its main memory.
      port_bandwidth: of one of its ports to neighbours in the torus, one way, in bytes/s.
      ring: a dim of the torus whose size it divides closes to a ring.
      clock: cycles/s in which its compiler counts. Not published: what its matrix units of 128 x 128 (4 a core, 1 core
        in v5e, 2 in v4 and v5p) need for the peak.
    """

    peak_bf16_flops: float
    memory_bytes: float | None = None
    port_bandwidth: float | None = None
    ring: int | None = None
    clock: float | None = None


_MATRIX_UNIT = 2 * 128 * 128  # FLOPs a cycle
_V5P = Device(459e12, 95 * 2**30, 1200e9 / 12, 4, 459e12 / (8 * _MATRIX_UNIT))
DEVICES = {
    "TPU v4": Device(275e12, 32 * 2**30, 600e9 / 12, 4, 275e12 / (8 * _MATRIX_UNIT)),
    "TPU v5 lite": Device(197e12, 16 * 2**30, 400e9 / 8, 16, 197e12 / (4 * _MATRIX_UNIT)),
    "TPU v5": _V5P,
    "TPU v5p": _V5P,
    "TPU v6 lite": Device(918e12),
    "NVIDIA A100-SXM4-40GB": Device(312e12),
    "NVIDIA A100-SXM4-80GB": Device(312e12),
    "NVIDIA H100 80GB HBM3": Device(989e12),
    "NVIDIA H200": Device(989e12),
    "NVIDIA B200": Device(2250e12),
}


def peak_flops(device_kind: str, compute_dtype: str = "bfloat16") -> float | None:
    """Peak FLOP/s of one device in `compute_dtype`, or None where it is not known.

    f32 products on these devices have no single published peak (it depends on the precision asked for), so only
    bf16 has one here.
    """
    known = DEVICES.get(device_kind)
    return known.peak_bf16_flops if known and compute_dtype == "bfloat16" else None
