"""What is known of devices: peak rates, by the `device_kind` that JAX reports.

Dense bf16 peaks as the vendors publish them (cloud.google.com/tpu/docs/system-architecture-tpu-vm and the NVIDIA
data sheets). A device that is not listed has no known peak, and nothing derived from one is then reported.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Hardware:
    """Peak bf16 FLOP/s and memory capacity in bytes of one device."""

    peak_flops: float
    memory_bytes: int


GIB = 2**30
HARDWARE = {
    "TPU v4": Hardware(275e12, 32 * GIB),
    "TPU v5 lite": Hardware(197e12, 16 * GIB),
    "TPU v5": Hardware(459e12, 95 * GIB),
    "TPU v5p": Hardware(459e12, 95 * GIB),
    "TPU v6 lite": Hardware(918e12, 32 * GIB),
    "NVIDIA A100-SXM4-40GB": Hardware(312e12, 40 * GIB),
    "NVIDIA A100-SXM4-80GB": Hardware(312e12, 80 * GIB),
    "NVIDIA H100 80GB HBM3": Hardware(989e12, 80 * GIB),
    "NVIDIA H200": Hardware(989e12, 141 * GIB),
    "NVIDIA B200": Hardware(2250e12, 180 * GIB),
}


def peak_flops(device_kind: str, compute_dtype: str = "bfloat16") -> float | None:
    """Peak FLOP/s of one device in `compute_dtype`, or None where it is not known.

    f32 products on these devices have no single published peak (it depends on the precision asked for), so only
    bf16 has one here.
    """
    known = HARDWARE.get(device_kind)
    return known.peak_flops if known and compute_dtype == "bfloat16" else None
