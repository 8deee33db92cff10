"""What is known of devices: dense bf16 peaks, by the `device_kind` that JAX reports.

Dense bf16 peaks as the vendors publish them (cloud.google.com/tpu/docs/system-architecture-tpu-vm and the NVIDIA
data sheets). A device that is not listed has no known peak, and nothing derived from one is then reported.
"""

# FLOP/s of one device.
PEAK_BF16_FLOPS = {
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA B200": 2250e12,
}


def peak_flops(device_kind: str, compute_dtype: str = "bfloat16") -> float | None:
    """Peak FLOP/s of one device in `compute_dtype`, or None where it is not known.

    f32 products on these devices have no single published peak (it depends on the precision asked for), so only
    bf16 has one here.
    """
    return PEAK_BF16_FLOPS.get(device_kind) if compute_dtype == "bfloat16" else None
