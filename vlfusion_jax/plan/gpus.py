"""NVIDIA GPUs by name, `h100:8`: described to the CUDA plugin's compiler, without any being there, and their links."""

import importlib.resources
import os
import re
from collections.abc import Sequence

import jax
import jaxlib
from jax.experimental import topologies

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.hardware import Device

# Each has a file of its name in `targets`.
GPUS = ("a100", "h100", "h200", "b200")
# Of a DGX or HGX system, joined by NVLink; InfiniBand joins the systems (docs.nvidia.com/dgx, user guides).
NODE = 8
LARGEST = 256


def gpu_name(text: str) -> str:
    """`GPU:COUNT` of a machine of one of `GPUS`.

    Raises:
      UserError: there is no machine of so many.
    """
    kind = re.split("[:-]", text)[0]
    found = re.fullmatch(rf"{kind}:([1-9]\d*)", text)
    if not found or int(found.group(1)) not in {*range(1, NODE + 1), *range(NODE, LARGEST + 1, NODE)}:
        raise UserError(
            f"--topology={text}: no such machine. Name 1 to {NODE} GPUs of one node, as {kind}:{NODE}, or up to "
            f"{LARGEST} in nodes of {NODE}, as {kind}:{LARGEST}."
        )
    return text


def describe_gpus(name: str) -> list[jax.Device]:
    """Devices of a machine that `gpu_name` knows.

    Raises:
      UserError: the CUDA plugin of JAX is missing.
    """
    kind, _, count = name.partition(":")
    in_node = min(int(count), NODE)
    target = importlib.resources.files("vlfusion_jax.plan").joinpath("targets", f"{kind}.txtpb").read_text("utf-8")
    # There is nothing to try kernels on, as older versions of JAX would; and Triton's products fail to compile in sizes
    # that trials would have found wanting.
    untried = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {untried}"
    # Partitions × nodes × GPUs of a node.
    shape = f"1x{int(count) // in_node}x{in_node}"
    try:
        found = topologies.get_topology_desc(topology_name=kind, platform="cuda", target_config=target, topology=shape)
    except NotImplementedError as error:
        raise UserError(
            "planning for a GPU needs its compiler: pip install 'vlfusion_jax[cuda13]' (4 GB), or without cuDNN, which "
            f"attention by cudnn asks for, jax-cuda13-plugin=={jaxlib.__version__} (0.4 GB). No GPU has to be there."
        ) from error
    return list(found.devices)


def bandwidth_of_gpus(kind: str, group: Sequence[jax.Device], device: Device) -> float:
    """Bytes/s that a GPU can send to the others of its group, nobody else sending.

    In one node by NVLink. Between nodes by the InfiniBand ports of all GPUs that the group has in a node, where what is
    sent goes round in a ring, each port taking its share; by the sender's own where everyone sends to everyone or to
    one other.
    """
    nodes = [each.id // NODE for each in group]
    if len(set(nodes)) == 1:
        return device.nvlink_bandwidth
    ports = 1 if kind in ("all-to-all", "ragged-all-to-all", "collective-permute") else max(map(nodes.count, nodes))
    return min(device.nvlink_bandwidth, ports * device.infiniband_bandwidth)
