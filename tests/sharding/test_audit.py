"""How many bytes lie where: no parameter of size is whole on every device, and moments follow their parameters."""

import re
from functools import cache

import jax
import numpy as np
import pytest

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import flatten, num_bytes
from vlfusion_jax.parallel.audit import format_audit
from vlfusion_jax.train.setup import build

KIND = ("single_stream", "two_stream", "cross_attention")
LARGE = 64 * 1024


@pytest.fixture(scope="module")
def vilt_vocabulary(small_vocabulary):
    """Sizes of BERT's word pieces and of the VQA v2 answers; neither is a multiple of anything useful."""
    small_vocabulary = type(small_vocabulary)(**vars(small_vocabulary))
    small_vocabulary.size, small_vocabulary.answers = 30522, tuple(map(str, range(3129)))
    return small_vocabulary


@pytest.fixture(scope="module")
def vilt_base(small_config):
    """Function (changes) -> a run of the size of ViLT-base."""

    def make(**changes):
        settings = {
            "model__width": 768, "model__heads": 12, "model__mlp_width": 3072, "model__layers": 12,
            "model__text_layers": 6, "model__image_layers": 6, "model__cross_layers": 6, "model__patch_size": 32,
            "data__image_size": (384, 640), "data__caption_length": 40, "data__question_length": 40,
        }  # fmt: skip
        return small_config(**settings | changes)

    return make


@pytest.mark.parametrize("kind", KIND)
@pytest.mark.parametrize("sharding", ["fsdp", "fsdp_tp", "fsdp_tp:4"])
def test_nothing_large_is_whole_at_the_size_of_vilt(vilt_base, vilt_vocabulary, kind, sharding):
    # Building allocates nothing: it only traces shapes. The limit is a refusal to start, here it must not strike.
    run = build(vilt_base(model__family=kind, sharding=sharding, audit__max_replicated_kib=64), vilt_vocabulary)
    large = [row for row in run.audit if row.bytes_total > LARGE]
    assert len(large) > 15
    assert not [row.path for row in large if row.bytes_per_device == row.bytes_total]
    total, here = (sum(getattr(row, name) for row in run.audit) for name in ("bytes_total", "bytes_per_device"))
    assert total > 400e6
    assert here < total / 7 if sharding == "fsdp" else here < total / 3.5


@pytest.mark.parametrize("kind", KIND)
@pytest.mark.parametrize("tokens", ["patch", "conv"])
def test_nothing_large_is_whole_under_fsdp(small_config, small_vocabulary, kind, tokens):
    config = small_config(
        model__width=256, model__heads=4, model__mlp_width=1024, model__family=kind, model__image_tokens=tokens,
        model__conv_channels=(64, 128, 256), sharding="fsdp",
    )  # fmt: skip
    run = build(config, small_vocabulary)
    large = [row for row in run.audit if row.bytes_total > LARGE]
    assert len(large) > 10
    assert all(row.bytes_per_device * 8 == row.bytes_total for row in large)
    table = format_audit(run.audit, 8).splitlines()
    for row in run.audit:
        (line,) = [line for line in table if line.startswith(f"{row.path} ")]
        assert re.search(r"\bfsdp\b" if row.bytes_per_device < row.bytes_total else r"\breplicated\b", line)


def test_data_parallel_replicates_and_a_limit_refuses_it(small_config, small_vocabulary):
    config = small_config(model__width=256, model__heads=4, model__mlp_width=1024, sharding="dp")
    assert all(row.replicated for row in build(config, small_vocabulary).audit)
    config.audit.max_replicated_kib = 64
    with pytest.raises(UserError, match=r"fusion/layers/joint_mlp/expand/kernel \(2048 KiB\).*max_replicated_kib"):
        build(config, small_vocabulary)
    build(config, small_vocabulary, jax.devices()[:1])


@pytest.fixture(scope="module")
def born(small_config, small_vocabulary):
    """Function (sharding, devices) -> a run and its first state."""

    @cache
    def make(sharding, devices):
        config = small_config(model__width=32, model__heads=4, sharding=sharding, optim__freeze=("^text/",))
        run = build(config, small_vocabulary, jax.devices()[:devices])
        return run, run.init_state()

    return make


def test_parameters_and_moments_are_born_where_the_audit_says(born):
    run, state = born("fsdp_tp", 8)
    params = flatten(state.params)
    assert set(params) == {row.path for row in run.audit}
    for row in run.audit:
        assert {shard.data.nbytes for shard in params[row.path].addressable_shards} == {row.bytes_per_device}
        assert num_bytes(params[row.path]) == row.bytes_total
    moments = {path: leaf for path, leaf in flatten(state.opt_state).items() if leaf.ndim}
    assert len(moments) == 2 * sum(not path.startswith("text/") for path in params)
    for path, moment in moments.items():
        parameter = params[re.search(r"/(mu|nu)/(.*)", path)[2]]
        assert moment.shape == parameter.shape
        assert moment.sharding.is_equivalent_to(parameter.sharding, moment.ndim), path
    for ours, abstract in zip(jax.tree.leaves(state), jax.tree.leaves(run.abstract_state), strict=True):
        assert ours.sharding.is_equivalent_to(abstract.sharding, ours.ndim)


def test_parameters_do_not_depend_on_the_mesh(born):
    states = [born(*where)[1] for where in (("dp", 1), ("fsdp_tp", 8))]
    for one, other in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", KIND)
@pytest.mark.parametrize("sharding", ["fsdp", "fsdp_tp"])
def test_moments_follow_their_parameters_at_any_size(vilt_base, vilt_vocabulary, kind, sharding):
    state = build(vilt_base(model__family=kind, sharding=sharding), vilt_vocabulary).abstract_state
    params = flatten(state.params)
    moments = {path: leaf for path, leaf in flatten(state.opt_state).items() if leaf.ndim}
    assert len(moments) == 2 * len(params)
    for path, moment in moments.items():
        assert moment.sharding == params[re.search(r"/(mu|nu)/(.*)", path)[2]].sharding, path
