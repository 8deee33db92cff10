"""FLOPs of the products in a compiled program, from their shapes; a multiply-add counts two."""

import math
import re

import numpy as np

from vlfusion_jax.plan.hlo import Instruction, arrays, backend_config

# Of fused attention: products of the size of queries × keys, of which the gradient computes the scores once more
# (Dao et al. 2022, "FlashAttention", algorithms 2 and 4).
_ATTENTION_FORWARD, _ATTENTION_BACKWARD = 2, 5

Computation = dict[str, Instruction]


def product_flops(here: Computation, instruction: Instruction) -> float:
    """Of one run of an instruction itself, what it calls not counted.

    Args:
      here: the computation it stands in.
      instruction: any.

    Returns:
      0 where it multiplies no arrays: a dot, a convolution, or one of the libraries' calls for these does.
    """
    if instruction.opcode == "dot":
        contracted, batch = (_listed(instruction.attributes, f"lhs_{kind}_dims") for kind in ("contracting", "batch"))
        return _dot(here, instruction, contracted, batch)
    if instruction.opcode == "convolution":
        lhs, rhs = (_dims(here, instruction, i) for i in (0, 1))
        return _convolution(instruction.attributes, lhs, rhs, arrays(instruction.shape)[0][1])
    if instruction.opcode == "custom-call":
        return _library_call(here, instruction)
    return 0.0


def product_bits(here: Computation, instruction: Instruction) -> int:
    """Width of the numbers that a product multiplies, of the wider operand."""
    widths = [re.findall(r"\d+", dtype) for name in instruction.operands[:2] for dtype, _ in arrays(here[name].shape)]
    return max((int(width[0]) for width in widths if width), default=0)


def _library_call(here: Computation, call: Instruction) -> float:
    target, config = re.search(r'custom_call_target="([^"]*)"', call.attributes).group(1), backend_config(call)
    if target.startswith("__cublas$"):
        numbers = config["gemm_backend_config"]["dot_dimension_numbers"]
        contracted, batch = (numbers.get(f"lhs_{kind}_dimensions", []) for kind in ("contracting", "batch"))
        return _dot(here, call, [int(i) for i in contracted], [int(i) for i in batch])
    if target.startswith("__cudnn$conv"):
        result, first, second = arrays(call.shape)[0][1], *(_dims(here, call, i) for i in (0, 1))
        # The window is that of the forward pass, whichever of its three arrays is computed.
        if target == "__cudnn$convBackwardInput":
            return _convolution(call.attributes, result, second, first)
        if target == "__cudnn$convBackwardFilter":
            return _convolution(call.attributes, first, result, second)
        return _convolution(call.attributes, first, second, result)
    if target.startswith("__cudnn$fmha"):
        scores = config["cudnn_fmha_backend_config"]["intermediate_tensor_shape"]["dimensions"]
        products = _ATTENTION_BACKWARD if "Backward" in target else _ATTENTION_FORWARD
        return products * 2.0 * math.prod(map(int, scores)) * _dims(here, call, 0)[-1]
    return 0.0


def _dot(here: Computation, product: Instruction, contracted: list[int], batch: list[int]) -> float:
    lhs, rhs = (_dims(here, product, i) for i in (0, 1))
    return 2.0 * math.prod(lhs) * math.prod(rhs) / math.prod(lhs[i] for i in [*contracted, *batch])


def _convolution(attributes: str, lhs: list[int], rhs: list[int], out: list[int]) -> float:
    """Multiply-adds with what is padded or lies between dilated numbers are none."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", attributes)
    window = dict(re.findall(r"(\w+)=([\w\-]+)", (re.search(r"window=\{([^}]*)\}", attributes) or [""])[0]))
    of_lhs, of_rhs, of_out = labels.groups()
    pairs = 1
    for i, label in enumerate(sorted(set(of_out) - set("bf"))):
        sizes = (dims[where.index(label)] for dims, where in ((lhs, of_lhs), (rhs, of_rhs), (out, of_out)))
        pairs *= _pairs(*sizes, {key: value.split("x")[i] for key, value in window.items()})
    groups = int((re.search(r"batch_group_count=(\d+)", attributes) or [0, 1])[1])
    images, channels, features = lhs[of_lhs.index("b")] // groups, rhs[of_rhs.index("i")], out[of_out.index("f")]
    return 2.0 * images * channels * features * pairs


def _pairs(size: int, kernel: int, out: int, window: dict[str, str]) -> int:
    """(place of the result, place of the kernel) that meet a number, along one dim."""
    stride, spread, apart = (int(window.get(key, 1)) for key in ("stride", "lhs_dilate", "rhs_dilate"))
    before = int(window.get("pad", "0_0").split("_")[0])
    place = np.arange(out)[:, None] * stride + np.arange(kernel) * apart - before
    return int(((place >= 0) & (place <= (size - 1) * spread) & (place % spread == 0)).sum())


def _dims(here: Computation, instruction: Instruction, operand: int) -> list[int]:
    return arrays(here[instruction.operands[operand]].shape)[0][1]


def _listed(attributes: str, name: str) -> list[int]:
    found = re.search(rf"\b{name}=\{{([\d,]*)\}}", attributes)
    return [int(i) for i in found.group(1).split(",") if i] if found else []
