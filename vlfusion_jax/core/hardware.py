"""What is known of devices, by the `device_kind` that JAX reports.

TPUs: cloud.google.com/tpu/docs, the page of each version. GPUs: nvidia.com/en-us/data-center, the data sheets of a100,
h100, h200 and hgx (for B200), without sparsity; of their networks docs.nvidia.com/dgx, the user guide of each system,
which has a port of InfiniBand for each GPU. What is not known is None, and nothing derived from it is then reported.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Device:
    """Published figures of one device.

    Attributes:
      peak_bf16_flops: dense, in FLOP/s.
      memory_bytes: of its main memory.
      port_bandwidth: of one of its ports to neighbours in the torus, one way, in bytes/s.
      ring: what divides every dim of a slice whose dims close to rings; other slices are meshes.
      dims: of such a slice.
      clock: cycles/s in which its compiler counts. Not published: what its matrix units of 128 x 128 (4 a core, 1 core
        in v5e, 2 in v4 and v5p; those of v6e do as much as 16) need for the peak.
      memory_bandwidth: of its main memory, in bytes/s.
      counted_bandwidth: at which its compiler counts a stream of 16-bit numbers, in bytes/s, by `vlfusion calibrate`
        with libtpu 0.0.42.1.
      tile: of the matrix units, rows and columns; what they multiply is padded to it.
      peak_tf32_flops: of products of f32 arrays, where it has them other than as bf16.
      nvlink_bandwidth: to the other GPUs of its node, one way, in bytes/s.
      infiniband_bandwidth: to GPUs of other nodes, one way, in bytes/s.
      slice_bandwidth: to chips of other slices, through the data centre's network, one way, in bytes/s.
    """

    peak_bf16_flops: float
    memory_bytes: float | None = None
    port_bandwidth: float | None = None
    ring: int | None = None
    dims: int = 3
    clock: float | None = None
    memory_bandwidth: float | None = None
    counted_bandwidth: float | None = None
    tile: int = 1
    peak_tf32_flops: float | None = None
    nvlink_bandwidth: float | None = None
    infiniband_bandwidth: float | None = None
    slice_bandwidth: float | None = None


_MATRIX_UNIT = 2 * 128 * 128  # FLOPs a cycle
_V5P = Device(459e12, 95 * 2**30, 1200e9 / 12, 4, 3, 459e12 / (8 * _MATRIX_UNIT), 2765e9, 1005e9, 128,
              slice_bandwidth=50e9 / 8)  # fmt: skip


def _gpu(bf16: float, tf32: float, memory: float, memory_bandwidth: float, nvlink: float, network: float) -> Device:
    """From the units of data sheets: TFLOP/s, GB, GB/s, NVLink in GB/s of both ways, InfiniBand in Gbit/s."""
    return Device(bf16 * 1e12, memory * 1e9, memory_bandwidth=memory_bandwidth * 1e9, peak_tf32_flops=tf32 * 1e12,
                  nvlink_bandwidth=nvlink * 1e9 / 2, infiniband_bandwidth=network * 1e9 / 8)  # fmt: skip


# fmt: off
DEVICES = {
    "TPU v4": Device(275e12, 32 * 2**30, 600e9 / 12, 4, 3, 275e12 / (8 * _MATRIX_UNIT), 1228e9, 475e9, 128),
    "TPU v5 lite": Device(197e12, 16 * 2**30, 400e9 / 8, 16, 2, 197e12 / (4 * _MATRIX_UNIT), 819e9, 334e9, 128,
                          slice_bandwidth=6.4e12 / 256 / 8),  # a pod's 6.4 Tbit/s
    "TPU v5": _V5P,
    "TPU v5p": _V5P,
    "TPU v6 lite": Device(918e12, 32 * 2**30, 800e9 / 8, 16, 2, 918e12 / (16 * _MATRIX_UNIT), 1638e9, 663e9, 256),
    "NVIDIA A100-SXM4-40GB": _gpu(312, 156, 40, 1555, 600, 200),
    "NVIDIA A100-SXM4-80GB": _gpu(312, 156, 80, 2039, 600, 200),
    "NVIDIA H100 80GB HBM3": _gpu(989, 494.5, 80, 3350, 900, 400),
    "NVIDIA H200": _gpu(989, 494.5, 141, 4800, 900, 400),
    "NVIDIA B200": _gpu(2250, 1125, 180, 8000, 1800, 400),
}
# fmt: on


def peak_flops(device_kind: str, compute_dtype: str = "bfloat16") -> float | None:
    """Peak FLOP/s of one device in `compute_dtype`, or None where it is not known.

    f32 products on these devices have no single published peak (it depends on the precision asked for), so only
    bf16 has one here.
    """
    known = DEVICES.get(device_kind)
    return known.peak_bf16_flops if known and compute_dtype == "bfloat16" else None
