"""Names of machines."""

import pytest

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.plan.topology import topology_name


# Slices as cloud.google.com/tpu/docs lists them.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("v5e:4x4", "v5e:4x4"), ("v5e-1", "v5e:1x1"), ("v5e-8", "v5e:2x4"), ("v5e-16", "v5e:4x4"),
        ("v5e-128", "v5e:8x16"), ("v5e-256", "v5e:16x16"), ("v5p-8", "v5p:2x2x1"),
        ("v5p-16", "v5p:2x2x2"), ("v5p-64", "v5p:2x4x4"), ("v5p-512", "v5p:4x8x8"), ("v4-32", "v4:2x2x4"),
        ("v5p:8x8x8", "v5p:8x8x8"), ("h100:8", "h100:8"), ("a100:1", "a100:1"), ("b200:256", "b200:256"),
        ("h200:24", "h200:24"),
    ],
)  # fmt: skip
def test_names(name, expected):
    assert topology_name(name) == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v5f:4x4", "Did you mean 'v5"),
        ("v5e", "Name one as .*v5e:4x4"),
        ("v5e-512", "v5e-N counts chips"),
        ("v5e-12", "no such slice"),
        ("v5e-2", "no such slice"),
        ("v3-16", "no such machine"),
        ("v5p-3", "v5p-N counts cores"),
        ("v5e:4x4x4", "torus of 2 dims"),
        ("h10:8", "Did you mean 'h100'"),
        ("h100", "Name 1 to 8 GPUs of one node, as h100:8"),
        ("h100-8", "Name 1 to 8 GPUs of one node, as h100:8"),
        ("h100:0", "no such machine"),
        ("h100:12", "in nodes of 8"),
        ("h100:300", "or up to 256 in nodes of 8"),
    ],
)
def test_no_such_machine(name, message):
    with pytest.raises(UserError, match=message):
        topology_name(name)


def test_slices_are_of_tpus():
    assert topology_name("v6e-16", 2) == "v6e:4x4"
    with pytest.raises(UserError, match="--num_slices=2: slices are of TPUs"):
        topology_name("h100:8", 2)
