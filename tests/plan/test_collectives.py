"""What the compiled programs of hand-made functions send: kind, axis, count and bytes, as arithmetic says."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vlfusion_jax.plan.collectives import Collective, collectives, device_groups
from vlfusion_jax.plan.hlo import parse, shape_bytes

MESH = {"data": 4, "tensor": 2}


def mesh() -> Mesh:
    return Mesh(np.array(jax.devices()).reshape(4, 2), tuple(MESH), axis_types=(AxisType.Auto,) * 2)


def sent(function: Callable, *arguments: tuple[tuple[int, ...], PartitionSpec], out: PartitionSpec) -> list[Collective]:
    """Of `function`, mapped over the mesh, of f32 arrays of these whole shapes."""
    mapped = jax.shard_map(
        function, mesh=mesh(), in_specs=tuple(spec for _, spec in arguments), out_specs=out, check_vma=False
    )
    abstract = [
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh(), spec)) for shape, spec in arguments
    ]
    return collectives(parse(jax.jit(mapped).lower(*abstract).compile().as_text()), MESH)


P = PartitionSpec


def test_gathered_in_every_turn_of_a_loop():
    def function(kernels, x):
        def layer(x, kernel):
            return jnp.tanh(x @ jax.lax.all_gather(kernel, "data", tiled=True)), None

        return jax.lax.scan(layer, x, kernels)[0]

    [found] = sent(function, ((12, 24, 24), P(None, "data")), ((40, 24), P()), out=P())
    assert found == Collective("all-gather", ("data",), 4, 6 * 24 * 4, 12, False)
    assert found.sent_bytes == 12 * 3 * 6 * 24 * 4


def test_loops_within_loops():
    def function(x):
        def inner(x, _):
            return jnp.sin(jax.lax.psum(x, "tensor")), None

        def outer(x, _):
            return jax.lax.scan(inner, jnp.cos(x), None, length=5)[0], None

        return jax.lax.scan(outer, x, None, length=3)[0]

    [found] = sent(function, ((7, 9), P()), out=P())
    assert (found.kind, found.axes, found.times) == ("all-reduce", ("tensor",), 15)
    assert found.sent_bytes == 15 * 2 * (1 / 2) * 7 * 9 * 4


@pytest.mark.parametrize(("axes", "devices"), [(("data",), 4), (("tensor",), 2), (("data", "tensor"), 8)])
def test_scattered_sums(axes, devices):
    function = partial(jax.lax.psum_scatter, axis_name=axes, tiled=True)
    [found] = sent(function, ((48, 5), P()), out=P(axes))
    assert found == Collective("reduce-scatter", axes, devices, 48 * 5 * 4, 1, False)
    assert found.sent_bytes == (devices - 1) / devices * 48 * 5 * 4


@pytest.mark.parametrize("axis", MESH)
def test_what_changes_places(axis):
    devices = MESH[axis]
    [found] = sent(lambda x: jax.lax.all_to_all(x, axis, 0, 0, tiled=True), ((64, 3), P(axis)), out=P(axis))
    assert (found.kind, found.axes, found.devices) == ("all-to-all", (axis,), devices)
    assert found.sent_bytes == (devices - 1) / devices * (64 // devices) * 3 * 4
    to_the_next = [(i, (i + 1) % devices) for i in range(devices)]
    [found] = sent(lambda x: jax.lax.ppermute(x, axis, to_the_next), ((64, 3), P(axis)), out=P(axis))
    assert (found.kind, found.axes) == ("collective-permute", (axis,))
    assert found.sent_bytes == (64 // devices) * 3 * 4


def test_products_that_the_compiler_splits():
    """Inputs split over one axis, the result whole: one sum of all of it over that axis."""
    x = jax.ShapeDtypeStruct((10, 32), jnp.float32, sharding=NamedSharding(mesh(), P(None, "data")))
    kernel = jax.ShapeDtypeStruct((32, 6), jnp.float32, sharding=NamedSharding(mesh(), P("data")))
    compiled = jax.jit(jnp.matmul, out_shardings=NamedSharding(mesh(), P())).lower(x, kernel).compile()
    [found] = collectives(parse(compiled.as_text()), MESH)
    assert (found.kind, found.axes, found.operand_bytes) == ("all-reduce", ("data",), 10 * 6 * 4)


# Written as compilers for accelerators write them.
ASYNCHRONOUS = """HloModule pairs

%add (a: bf16[], b: bf16[]) -> bf16[] {
  %a = bf16[] parameter(0)
  %b = bf16[] parameter(1)
  ROOT %sum = bf16[] add(%a, %b)
}

%all-reduce-scatter.1 (input: bf16[512,256]) -> bf16[128,256] {
  %input = bf16[512,256]{1,0:T(8,128)(2,1)S(1)} parameter(0)
  %all-reduce.8 = bf16[512,256]{1,0:T(8,128)(2,1)} all-reduce(%input), replica_groups={{0,2,4,6},{1,3,5,7}}
  %zero = u32[] constant(0)
  ROOT %part = bf16[128,256]{1,0} dynamic-slice(%all-reduce.8, %zero, %zero), dynamic_slice_sizes={128,256}
}

%body (state: (s32[], bf16[64,32])) -> (s32[], bf16[64,32]) {
  %state = (s32[]{:T(128)}, bf16[64,32]{1,0:T(8,128)(2,1)S(1)}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %moved = s32[]{:T(128)S(6)} copy(%i)
  %x = bf16[64,32]{1,0} get-tuple-element(%state), index=1
  %two = s32[] constant(2)
  %next = s32[] add(%two, %moved)
  %start = (bf16[64,32]{1,0}, bf16[128,32]{1,0}) all-gather-start(%x), replica_groups=[4,2]<=[8], dimensions={0}
  %done = bf16[128,32]{1,0} all-gather-done(%start)
  ROOT %out = (s32[], bf16[64,32]{1,0}) tuple(%next, %x)
}

%condition (state.1: (s32[], bf16[64,32])) -> pred[] {
  %state.1 = (s32[], bf16[64,32]{1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%state.1), index=0
  %end = s32[] constant(24)
  ROOT %less = pred[] compare(%i.1, %end), direction=LT
}

ENTRY %main (p: bf16[64,32], q: bf16[512,256]) -> bf16[64,32] {
  %p = bf16[64,32]{1,0} parameter(0)
  %q = bf16[512,256]{1,0} parameter(1)
  %one = s32[] constant(1)
  %first = s32[] copy(%one)
  %begin = (s32[], bf16[64,32]{1,0}) tuple(%first, %p)
  %loop = (s32[], bf16[64,32]{1,0}) while(%begin), condition=%condition, body=%body
  %scattered = bf16[128,256]{1,0} fusion(%q), kind=kCustom, calls=%all-reduce-scatter.1
  ROOT %result = bf16[64,32]{1,0} get-tuple-element(%loop), index=1
}
"""


def test_pairs_of_start_and_end_and_a_loop_that_only_its_counter_measures():
    program = parse(ASYNCHRONOUS)
    assert not program.unknown_loops()
    turns = len(range(1, 24, 2))
    assert collectives(program, MESH) == [
        Collective("all-gather", ("tensor",), 2, 64 * 32 * 2, turns, True),
        Collective("reduce-scatter", ("data",), 4, 512 * 256 * 2, 1, False),
    ]


def test_in_two_parts_between_which_nothing_runs():
    shape, groups = "(bf16[64,32]{1,0}, bf16[128,32]{1,0})", "replica_groups=[4,2]<=[8], dimensions={0}"
    old = f"%start = {shape} all-gather-start(%x), {groups}"
    waiting = f'{old}, backend_config={{"collective_backend_config":{{"is_sync":true}}}}'
    assert old in ASYNCHRONOUS
    assert [each.asynchronous for each in collectives(parse(ASYNCHRONOUS.replace(old, waiting)), MESH)] == [False] * 2


def test_a_program_that_is_not_shown():
    with pytest.raises(ValueError, match="upgrade it"):
        parse(None)


def test_a_loop_that_never_runs():
    program = parse(ASYNCHRONOUS.replace("%end = s32[] constant(24)", "%end = s32[] constant(1)"))
    assert [each.times for each in collectives(program, MESH)] == [0, 1]


def test_a_loop_of_unknown_length_is_named():
    assert parse(ASYNCHRONOUS.replace("%two = s32[] constant(2)", "%two = s32[] constant(0)")).unknown_loops() == [
        "loop"
    ]
    assert parse(ASYNCHRONOUS.replace("direction=LT", "direction=NE")).unknown_loops() == ["loop"]


@pytest.mark.parametrize(
    "groups",
    [
        "{{0,2,4,6},{1,3,5,7}}",
        "[2,4]<=[4,2]T(1,0)",
        "mesh['axis_0'=4,'axis_1'=2] {'axis_0'}",
        "mesh['axis_0'=2,'axis_1'=4], device_ids=([4,2]T(1,0)) {'axis_1'}",
        "mesh['axis_0'=2,'axis_1'=4], device_ids=(0,2,4,6,1,3,5,7) {'axis_1'}",
    ],
)
def test_every_way_to_write_groups(groups):
    text = ASYNCHRONOUS.replace("replica_groups=[4,2]<=[8]", f"replica_groups={groups}")
    found = collectives(parse(text), MESH)[0]
    assert (found.axes, found.devices) == (("data",), 4)
    start = parse(text).computations["body"]["start"]
    assert {frozenset(row.tolist()) for row in device_groups(start, MESH)} == {
        frozenset({0, 2, 4, 6}),
        frozenset({1, 3, 5, 7}),
    }


@pytest.mark.parametrize("groups", ["{{0,2,4,6},{1,3,5}}", "mesh['a'=8] {'a':(1)4}", "everybody"])
def test_groups_that_are_not_understood(groups):
    with pytest.raises(ValueError, match="start: which devices exchange is not known"):
        collectives(parse(ASYNCHRONOUS.replace("replica_groups=[4,2]<=[8]", f"replica_groups={groups}")), MESH)


def test_what_stays_on_a_device_is_no_traffic():
    alone = ASYNCHRONOUS.replace("replica_groups=[4,2]<=[8]", "replica_groups=[8,1]<=[8]")
    assert [each.kind for each in collectives(parse(alone), MESH)] == ["reduce-scatter"]


def test_bytes_of_shapes():
    assert shape_bytes("f32[3,5]{1,0:T(8,128)}") == 60
    assert shape_bytes("(bf16[4]{0}, s32[], pred[7], token[])") == 8 + 4 + 7
    assert shape_bytes("s4[10]") == 5
    assert shape_bytes("f8e4m3b11fnuz[9]") == 9
    assert shape_bytes("c64[<=3,2]") == 48


def test_what_is_no_program_is_refused():
    with pytest.raises(ValueError, match="ENTRY"):
        parse("HloModule nothing")


SLICED = """
ENTRY %main (a: bf16[16,768]) -> bf16[16,768] {
  %a = bf16[16,768]{1,0} parameter(0)
  %key = token[] after-all(), frontend_attributes={MegascaleRendezvousKeyName="all-reduce.1_0"}
  %send = (bf16[16,768]{1,0}, u32[], token[]) send(%a, %key), channel_id=3, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_megascale_target="{1,2}x{0:3}",_xla_megascale_transfer_type="ALL_REDUCE"}
  %sent = token[] send-done(%send), channel_id=3, is_host_transfer=true
  %recv = (bf16[16,768]{1,0}, u32[], token[]) recv(%key), channel_id=2, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_megascale_transfer_type="ALL_REDUCE"}
  %both = (bf16[16,768]{1,0}, token[]) recv-done(%recv), channel_id=2, is_host_transfer=true
  ROOT %sum = bf16[16,768]{1,0} get-tuple-element(%both), index=0
}
"""  # noqa: E501


def test_between_slices():
    [found] = collectives(parse(SLICED), MESH, slices=4)
    assert found == Collective("all-reduce", ("slices",), 4, 16 * 768 * 2, 1, True)
    assert found.sent_bytes == 2 * 3 / 4 * 16 * 768 * 2
    with pytest.raises(ValueError, match=r"send: what it sends is not known \(other\)"):
        collectives(parse(SLICED.replace("ALL_REDUCE", "OTHER")), MESH, slices=4)


def repeated(number: int, chain: int, rows: int) -> str:
    """A part of an asynchronous gather, as it stands in each of the products which it runs beside."""
    return (
        f"  %all-gather.{number} = bf16[{4 * rows},32]{{1,0}} all-gather(%x{rows}), channel_id=1, "
        f'replica_groups={{{{0,2,4,6}},{{1,3,5,7}}}}, dimensions={{0}}, frontend_attributes={{chain_id="{chain}"}}, '
        'backend_config={"async_collective_fusion_config":{"flag_start":"2","flag_end":"8"}}'
    )


def test_what_runs_beside_several_products_counts_once():
    lines = [repeated(1, 9, 16), repeated(2, 9, 16), repeated(3, 10, 16), repeated(4, 11, 64), repeated(5, 11, 64)]
    text = "\n".join(
        [
            "HloModule a", "", "ENTRY %main (x16: bf16[16,32], x64: bf16[64,32]) -> bf16[64,32] {",
            "  %x16 = bf16[16,32]{1,0} parameter(0)", "  %x64 = bf16[64,32]{1,0} parameter(1)", *lines,
            "  ROOT %out = bf16[64,32]{1,0} copy(%x64)", "}",
        ]
    )  # fmt: skip
    found = collectives(parse(text), MESH)
    assert [each.operand_bytes for each in found] == [16 * 32 * 2, 16 * 32 * 2, 64 * 32 * 2]
    assert all(each.asynchronous for each in found)
