"""FLOPs, bytes and least times of programs, against arithmetic and other counts."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlfusion_jax.core.hardware import DEVICES, Device
from vlfusion_jax.data.pipeline import batch_shapes
from vlfusion_jax.plan.hlo import parse
from vlfusion_jax.plan.kernels import Kernel, kernels, program_flops
from vlfusion_jax.plan.roofline import roofline
from vlfusion_jax.train.setup import build

DEVICE = Device(peak_bf16_flops=1000.0, memory_bandwidth=10.0, peak_tf32_flops=500.0)


def compiled(function: Callable, *shapes: tuple[int, ...], dtype=jnp.float32) -> jax.stages.Compiled:
    return jax.jit(function).lower(*(jax.ShapeDtypeStruct(shape, dtype) for shape in shapes)).compile()


def flops(function: Callable, *shapes: tuple[int, ...]) -> float:
    program = parse(compiled(function, *shapes).as_text())
    assert sum(each.times * each.flops for each in kernels(program)) == program_flops(program)
    return program_flops(program)


def test_products_in_loops():
    def function(x, inner, outer):
        def layer(x, kernel):
            return jnp.tanh(x @ kernel), None

        def stage(x, kernel):
            return jax.lax.scan(layer, jnp.sin(x @ kernel), inner)[0], None

        return jax.lax.scan(stage, x, outer)[0]

    assert flops(function, (40, 24), (5, 24, 24), (3, 24, 24)) == 3 * (1 + 5) * 2 * 40 * 24 * 24


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("bhqd,bhkd->bhqk", ((3, 2, 5, 8), (3, 2, 7, 8)), 2 * 3 * 2 * 5 * 7 * 8),
        ("bthd,hde->bte", ((3, 5, 2, 8), (2, 8, 11)), 2 * 3 * 5 * 2 * 8 * 11),
        ("ab,ab->ab", ((3, 5), (3, 5)), 0),
    ],
)
def test_products_of_a_batch(equation, shapes, expected):
    assert flops(lambda a, b: jnp.einsum(equation, a, b), *shapes) == expected


# NHWC, HWIO; options of `conv_general_dilated`.
CONVOLUTIONS = [
    ((2, 9, 8, 6), (3, 3, 6, 5), {"window_strides": (2, 1), "padding": "SAME"}),
    ((2, 9, 8, 6), (4, 4, 6, 5), {"window_strides": (4, 4), "padding": "VALID"}),
    ((2, 9, 8, 6), (3, 2, 2, 9), {"window_strides": (1, 1), "padding": "SAME", "feature_group_count": 3}),
    ((2, 9, 8, 6), (3, 3, 6, 5), {"window_strides": (1, 2), "padding": "SAME", "rhs_dilation": (2, 1)}),
    ((2, 9, 8, 6), (3, 3, 6, 5), {"window_strides": (1, 1), "padding": ((2, 1), (0, 3)), "lhs_dilation": (2, 3)}),
]


@pytest.mark.parametrize(("image", "kernel", "options"), CONVOLUTIONS)
def test_convolutions_and_their_gradients(image, kernel, options):
    def convolve(image, kernel):
        return jax.lax.conv_general_dilated(image, kernel, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)

    # Ones convolved with ones count the numbers that meet, padding left out.
    expected = 2 * float(convolve(jnp.ones(image), jnp.ones(kernel)).sum())
    assert flops(convolve, image, kernel) == expected
    # Each multiply-add has one in either gradient.
    gradients = jax.grad(lambda image, kernel: (convolve(image, kernel) ** 2).sum(), argnums=(0, 1))
    assert flops(gradients, image, kernel) == 3 * expected


def test_the_compiler_counts_the_same():
    def function(a, b, image, kernel):
        window = jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME")
        return a @ b, window

    shapes = (30, 20), (20, 50), (2, 6, 9, 8), (5, 6, 3, 3)
    assert flops(function, *shapes) == compiled(function, *shapes).cost_analysis()["flops"]


def test_an_update_by_gradients():
    def loss(params, x):
        first, layers = params

        def layer(x, kernels):
            weights = jax.nn.softmax(jnp.einsum("bqd,bkd->bqk", x, x))
            return jnp.tanh(jnp.einsum("bqk,bkd->bqd", weights, x) @ kernels[0]) @ kernels[1], None

        return (jax.lax.scan(layer, x @ first, layers)[0] ** 2).mean()

    def update(first, layers, x):
        gradients = jax.grad(loss)((first, layers), x)
        return first - gradients[0], layers - gradients[1]

    tokens, width = 3 * 20, 16
    layer = 2 * 2 * tokens * 20 * width + 2 * 2 * tokens * width * width
    # Twice the forward pass behind it, but for the gradient of what comes in.
    expected = 3 * 5 * layer + 2 * 2 * tokens * 12 * width
    assert flops(update, (12, 16), (5, 2, 16, 16), (3, 20, 12)) == expected


@pytest.mark.parametrize("scan", [False, True])
def test_a_training_step(small_config, small_vocabulary, scan):
    config = small_config(model__scan_layers=scan)
    run = build(config, small_vocabulary, jax.devices()[:1])
    batch = batch_shapes(run.config, run.vocabulary)
    program = parse(run.train_step.trace(run.abstract_state, batch).lower().compile().as_text())
    # Counted by the model: but nobody asks for the gradient of the pixels, in any of three passes. The backward pass
    # may compute part of the forward pass again.
    patches, pixels = (16 // 8) * (24 // 8), 8 * 8 * 3
    expected = run.flops_per_step - 3 * 2 * config.train.batch_size * patches * pixels * config.model.width
    assert expected <= program_flops(program) < expected + run.flops_per_step / 3


# As XLA writes them for GPUs; layouts and what does not matter are left out.
LIBRARIES = """
ENTRY %main (a: bf16[6,40,24]) -> bf16[6,40,56] {
  %a = bf16[6,40,24]{2,1,0} parameter(0)
  %b = bf16[6,24,56]{2,1,0} parameter(1)
  %gemm = (bf16[6,40,56]{2,1,0}, s8[4194304]{0}) custom-call(%a, %b), custom_call_target="__cublas$gemm", backend_config={"gemm_backend_config":{"alpha_real":1,"dot_dimension_numbers":{"lhs_contracting_dimensions":["2"],"rhs_contracting_dimensions":["1"],"lhs_batch_dimensions":["0"],"rhs_batch_dimensions":["0"]},"epilogue":"DEFAULT"}}
  %image = f32[2,9,8,6]{3,2,1,0} parameter(2)
  %kernel = f32[3,3,6,5]{3,2,1,0} parameter(3)
  %shown = f32[2,5,4,5]{3,2,1,0} parameter(4)
  %forward = (f32[2,5,4,5]{3,2,1,0}, u8[0]{0}) custom-call(%image, %kernel), window={size=3x3 stride=2x2 pad=1_1x0_1}, dim_labels=b01f_01io->b01f, custom_call_target="__cudnn$convForward", backend_config={"cudnn_conv_backend_config":{}}
  %images = (f32[2,9,8,6]{3,2,1,0}, u8[0]{0}) custom-call(%shown, %kernel), window={size=3x3 stride=2x2 pad=1_1x0_1}, dim_labels=b01f_01io->b01f, custom_call_target="__cudnn$convBackwardInput", backend_config={}
  %kernels = (f32[3,3,6,5]{3,2,1,0}, u8[0]{0}) custom-call(%image, %shown), window={size=3x3 stride=2x2 pad=1_1x0_1}, dim_labels=b01f_01io->b01f, custom_call_target="__cudnn$convBackwardFilter", backend_config={}
  %q = bf16[2,40,3,16]{3,2,1,0} parameter(5)
  %k = bf16[2,56,3,16]{3,2,1,0} parameter(6)
  %attention = (bf16[2,40,3,16]{3,2,1,0}, f32[2,3,40]{2,1,0}, u8[0]{0}) custom-call(%q, %k, %k), custom_call_target="__cudnn$fmhaSoftmax", backend_config={"cudnn_fmha_backend_config":{"intermediate_tensor_shape":{"dimensions":["2","3","40","56"]}}}
  %gradients = (bf16[2,40,3,16]{3,2,1,0}, bf16[2,56,3,16]{3,2,1,0}, bf16[2,56,3,16]{3,2,1,0}, u8[0]{0}) custom-call(%q, %k, %k), custom_call_target="__cudnn$fmhaSoftmaxDropoutBackward", backend_config={"cudnn_fmha_backend_config":{"intermediate_tensor_shape":{"dimensions":["2","3","40","56"]}}}
  %mystery = bf16[7]{0} custom-call(%q), custom_call_target="mystery"
  ROOT %result = bf16[6,40,56]{2,1,0} get-tuple-element(%gemm), index=0
}
"""  # noqa: E501


def test_calls_of_libraries():
    found = {each.name: each for each in kernels(parse(LIBRARIES))}
    gemm = found["gemm"]
    assert (gemm.flops, gemm.bits) == (2 * 6 * 40 * 24 * 56, 16)
    assert gemm.bytes == 2 * 6 * (40 * 24 + 24 * 56 + 40 * 56)  # without the workspace
    padded = np.pad(np.ones((9, 8)), ((1, 1), (0, 1)))
    meet = sum(padded[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].sum() for i in range(5) for j in range(4))
    for name in ("forward", "images", "kernels"):
        assert (found[name].flops, found[name].bits) == (2 * 2 * 6 * 5 * meet, 32)
    scores = 2 * 2 * 3 * 40 * 56 * 16
    assert found["attention"].flops == 2 * scores
    assert found["gradients"].flops == 5 * scores
    assert [each.name for each in found.values() if each.unknown] == ["mystery"]


# A loop of 5 turns: a slice of what is stacked is multiplied, and the result put in its place of another stack.
LOOP = """
%sliced (p: bf16[5,8,16], at: s32[], x: bf16[4,8]) -> bf16[4,16] {
  %p = bf16[5,8,16]{2,1,0} parameter(0)
  %x = bf16[4,8]{1,0} parameter(2)
  %at = s32[] parameter(1)
  %zero = s32[] constant(0)
  %slice = bf16[1,8,16]{2,1,0} dynamic-slice(%p, %at, %zero, %zero), dynamic_slice_sizes={1,8,16}
  %kernel = bf16[8,16]{1,0} bitcast(%slice)
  ROOT %dot = bf16[4,16]{1,0} dot(%x, %kernel), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%placed (p: bf16[5,4,16], q: bf16[4,16], at: s32[]) -> bf16[5,4,16] {
  %p = bf16[5,4,16]{2,1,0} parameter(0)
  %q = bf16[4,16]{1,0} parameter(1)
  %at = s32[] parameter(2)
  %zero = s32[] constant(0)
  %update = bf16[1,4,16]{2,1,0} bitcast(%q)
  ROOT %placed.1 = bf16[5,4,16]{2,1,0} dynamic-update-slice(%p, %update, %at, %zero, %zero)
}

%body (s: (s32[], bf16[5,8,16], bf16[5,4,16], bf16[4,8])) -> (s32[], bf16[5,8,16], bf16[5,4,16], bf16[4,8]) {
  %s = (s32[], bf16[5,8,16]{2,1,0}, bf16[5,4,16]{2,1,0}, bf16[4,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %kernels = bf16[5,8,16]{2,1,0} get-tuple-element(%s), index=1
  %results = bf16[5,4,16]{2,1,0} get-tuple-element(%s), index=2
  %x = bf16[4,8]{1,0} get-tuple-element(%s), index=3
  %product = bf16[4,16]{1,0} fusion(%kernels, %i, %x), kind=kCustom, calls=%sliced
  %kept = bf16[5,4,16]{2,1,0} fusion(%results, %product, %i), kind=kLoop, calls=%placed
  ROOT %next = (s32[], bf16[5,8,16]{2,1,0}, bf16[5,4,16]{2,1,0}, bf16[4,8]{1,0}) tuple(%i, %kernels, %kept, %x)
}

%condition (s: (s32[], bf16[5,8,16], bf16[5,4,16], bf16[4,8])) -> pred[] {
  %s = (s32[], bf16[5,8,16]{2,1,0}, bf16[5,4,16]{2,1,0}, bf16[4,8]{1,0}) parameter(0)
  ROOT %always = pred[] constant(true)
}

ENTRY %main (a: (s32[], bf16[5,8,16], bf16[5,4,16], bf16[4,8])) -> bf16[5,4,16] {
  %a = (s32[], bf16[5,8,16]{2,1,0}, bf16[5,4,16]{2,1,0}, bf16[4,8]{1,0}) parameter(0)
  %loop = (s32[], bf16[5,8,16]{2,1,0}, bf16[5,4,16]{2,1,0}, bf16[4,8]{1,0}) while(%a), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %out = bf16[5,4,16]{2,1,0} get-tuple-element(%loop), index=2
}
"""  # noqa: E501


def test_bytes_of_slices_and_of_what_is_updated_in_its_place():
    product, kept = kernels(parse(LOOP))
    assert product == Kernel("product", 5, 2 * 4 * 8 * 16, 16, 2 * (8 * 16 + 4 * 8 + 4 * 16) + 4, False)
    assert kept == Kernel("kept", 5, 0, 0, 2 * (4 * 16 + 4 * 16) + 4, False)
    assert roofline([product, kept], DEVICE) == 5 * (product.bytes + kept.bytes) / 10.0


# Of an array in main memory, a slice to the chip's own; a place set aside; a place made of two.
PLACES = """ENTRY %main (a: bf16[16,256]) -> bf16[8,256] {
  %a = bf16[16,256]{1,0:T(8,128)(2,1)} parameter(0)
  %place = bf16[12,512]{1,0:T(8,128)(2,1)} custom-call(), custom_call_target="AllocateBuffer"
  %start = ((bf16[16,256]{1,0:T(8,128)(2,1)}), bf16[8,256]{1,0:T(8,128)(2,1)S(1)}, s32[]{:S(2)}) slice-start(%a), slice={[0:8], [0:256]}
  %slice = bf16[8,256]{1,0:T(8,128)(2,1)S(1)} slice-done(%start)
  %both = bf16[8,256]{1,0:T(8,128)(2,1)S(1)} custom-call(%slice, %place), custom_call_target="ConcatBitcast"
  ROOT %out = bf16[8,256]{1,0:T(8,128)(2,1)} copy(%both), backend_config={"window_config":{"estimated_cycles":"77"}}
}
"""  # noqa: E501


def test_places_are_free_and_slices_read_what_they_take():
    start, out = kernels(parse(PLACES))
    assert start.name == "start"
    assert 8 * 256 * 2 <= start.bytes <= 8 * 256 * 2 + 8  # read; and a number to wait for
    assert (out.name, out.bytes, out.cycles, start.cycles) == ("out", 8 * 256 * 2, 77, None)


def test_the_longer_of_products_and_memory():
    work = [Kernel("large", 3, 4000.0, 16, 30, False), Kernel("small", 2, 10.0, 16, 30, False),
            Kernel("f32", 1, 4000.0, 32, 30, False)]  # fmt: skip
    assert roofline(work, DEVICE) == 3 * 4.0 + 2 * 3.0 + 8.0
    with pytest.raises(ValueError, match="no roofline"):
        roofline(work, Device(1000.0))


@pytest.mark.parametrize("kind", [kind for kind, each in DEVICES.items() if each.memory_bandwidth])
def test_a_large_product_is_at_the_peak(kind):
    text = """ENTRY %main (a: bf16[8192,8192]) -> bf16[8192,8192] {
  %a = bf16[8192,8192]{1,0} parameter(0)
  ROOT %dot = bf16[8192,8192]{1,0} dot(%a, %a), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}"""
    expected = 2 * 8192**3 / DEVICES[kind].peak_bf16_flops
    assert math.isclose(roofline(kernels(parse(text)), DEVICES[kind]), expected)
