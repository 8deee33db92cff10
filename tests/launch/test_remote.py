"""The scripts that start a run elsewhere: which words arrive there, of those that were given here."""

import pytest

from tests.launch.shell import program, run, running

WORDS = ["train", "--config=configs/tiny.py", "--config.name=two words", "--config.data.fields.question=it's $HOME"]
SETTINGS = {
    "VLFUSION_TPU": "mine", "VLFUSION_ZONE": "here", "VLFUSION_IMAGE": "registry/image:tag",
    "VLFUSION_NFS": "10.0.0.2:/exported", "VLFUSION_TPU_TYPE": "v5litepod-16", "VLFUSION_TPU_RUNTIME": "runtime",
    "VLFUSION_CLUSTER": "many", "VLFUSION_NAME": "run", "VLFUSION_STORAGE": "shared",
}  # fmt: skip
# Runs --command as a remote shell would, and tells everything else.
REMOTE = """
for word in "$@"; do [[ $word == --command=* ]] && command=${word#*=} || printf '%s\\n' "$word"; done
[[ ! ${command-} ]] || bash -c "${command/#\\/vlfusion\\/launch\\/start.sh/sudo}"
"""


@pytest.fixture
def elsewhere(tmp_path, environment):
    """An environment in which commands for other machines print their words, one a line."""
    program(tmp_path / "bin" / "sudo", "printf '%s\\n' \"$@\"")
    program(tmp_path / "bin" / "xpk", REMOTE)
    # The third time it is asked, a machine is there.
    count = f'echo >> {tmp_path}/asked; (($(wc -l < {tmp_path}/asked) < 3)) && echo WAITING || echo "${{STATE-ACTIVE}}"'
    program(tmp_path / "bin" / "gcloud", f"if [[ $4 == describe ]]; then {count}; exit; fi", REMOTE)
    program(tmp_path / "bin" / "sleep")
    return environment | SETTINGS | {"PATH": f"{tmp_path / 'bin'}:{environment['PATH']}"}


def words_of(script, tmp_path, environment):
    return run([f"launch/{script}", *WORDS], tmp_path / "log", environment).splitlines()


def test_tpu_vm(tmp_path, elsewhere):
    words = words_of("tpu_vm.sh", tmp_path, elsewhere | {"LIBTPU_INIT_ARGS": "--a=1 --b=2"})
    assert words[:6] == ["compute", "tpus", "tpu-vm", "ssh", "mine", "--zone=here"]
    assert words[6:9] == ["--worker=all", "docker", "run"]
    assert "--env=LIBTPU_INIT_ARGS=--a=1 --b=2" in words
    [mount] = [word for word in words if word.startswith("--mount=")]
    assert mount.startswith("--mount=type=volume,src=vlfusion-runs,dst=/runs,")
    assert mount.endswith(',volume-opt=device=:/exported,"volume-opt=o=addr=10.0.0.2,nfsvers=3,nolock"')
    assert words[-5:] == ["registry/image:tag", *WORDS]


def test_tpu_queued_resource(tmp_path, elsewhere):
    words = words_of("tpu_queued_resource.sh", tmp_path, elsewhere | {"VLFUSION_SPOT": "1"})
    assert words[:6] == ["compute", "tpus", "queued-resources", "create", "mine", "--zone=here"]
    assert words[6:10] == ["--node-id=mine", "--accelerator-type=v5litepod-16", "--runtime-version=runtime", "--spot"]
    assert words[10:12] == ["tpu_queued_resource.sh: mine is WAITING"] * 2
    assert words[12:16] == ["compute", "tpus", "tpu-vm", "ssh"]
    assert words[-4:] == WORDS


def test_a_queued_resource_that_fails(tmp_path, elsewhere):
    log = tmp_path / "log"
    with running(["launch/tpu_queued_resource.sh", *WORDS], log, elsewhere | {"STATE": "FAILED"}) as script:
        assert script.wait(60) == 1
    assert log.read_text().endswith("tpu_queued_resource.sh: mine is FAILED\n")


def test_xpk(tmp_path, elsewhere):
    words = words_of("xpk.sh", tmp_path, elsewhere)
    assert words[:5] == ["workload", "create", "--cluster=many", "--workload=run", "--tpu-type=v5litepod-16"]
    assert {"--num-slices=1", "--docker-image=registry/image:tag", "--storage=shared"} <= {*words}
    assert words[-4:] == WORDS


@pytest.mark.parametrize("script", ["tpu_vm.sh", "tpu_queued_resource.sh", "xpk.sh"])
def test_what_is_missing_is_named(tmp_path, elsewhere, script):
    log = tmp_path / "log"
    with running([f"launch/{script}", *WORDS], log, elsewhere | {"VLFUSION_IMAGE": ""}) as process:
        assert process.wait(60) != 0
    assert "VLFUSION_IMAGE: is not set" in log.read_text()
    assert "create" not in log.read_text()
