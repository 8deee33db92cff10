"""Every flag of launch/flags is one that the installed XLA knows: it ends a process that gives it another."""

import subprocess
import sys

import pytest

from tests.processes import ROOT

# Asked for a TPU's description, libtpu reads its flags; no TPU has to be there.
START = {
    "cpu": "import jax; jax.devices()",
    "gpu": "import jax; jax.devices()",
    "tpu": "from jax.experimental.topologies import get_topology_desc as t; t('v5e:2x2', 'tpu')",
}
VARIABLE = {"cpu": "XLA_FLAGS", "gpu": "XLA_FLAGS", "tpu": "LIBTPU_INIT_ARGS"}


def start(environment, platform, **settings):
    """A process with the settings of `platform`, on the CPU."""
    script = f'set -a; source launch/flags/{platform}.env; exec "$0" -c "$1"'
    return subprocess.run(
        ["bash", "-euc", script, sys.executable, START[platform]], cwd=ROOT, capture_output=True, text=True,
        env=environment | {"JAX_PLATFORMS": "cpu"} | settings,
    )  # fmt: skip


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_flags_are_known(environment, platform):
    if platform == "tpu":
        pytest.importorskip("libtpu", reason="needs the compiler for TPUs: pip install libtpu")
    environment = environment | {"XLA_FLAGS": ""}
    done = start(environment, platform)
    assert done.returncode == 0, done.stderr
    unknown = start(environment, platform, **{VARIABLE[platform]: "--xla_no_such_flag=1"})
    assert unknown.returncode != 0
    assert "xla_no_such_flag" in unknown.stderr


def test_what_is_set_already_comes_last(environment):
    script = 'set -a; source launch/flags/gpu.env; echo "$XLA_FLAGS"'
    asked = environment | {"XLA_FLAGS": "--xla_gpu_enable_latency_hiding_scheduler=false"}
    done = subprocess.run(["bash", "-euc", script], cwd=ROOT, capture_output=True, text=True, env=asked, check=True)
    assert done.stdout.split()[-1] == asked["XLA_FLAGS"]
