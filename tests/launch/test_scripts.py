"""What can be said of the scripts without running them."""

import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.processes import ROOT

LAUNCH = ROOT / "launch"
SCRIPTS = sorted([*LAUNCH.glob("*.sh"), *LAUNCH.glob("*.sbatch")])
SETTINGS = sorted(LAUNCH.glob("flags/*.env"))
SHELLCHECK = str(Path(sysconfig.get_path("scripts")) / "shellcheck")


def check(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_found():
    assert {"local.sh", "slurm.sbatch", "tpu_vm.sh", "xpk.sh"} <= {path.name for path in SCRIPTS}
    assert {path.name for path in SETTINGS} == {"cpu.env", "gpu.env", "tpu.env"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script(script):
    assert script.stat().st_mode & 0o111
    check("bash", "-n", str(script))
    check(SHELLCHECK, str(script))


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda path: path.name)
def test_settings(settings):
    check(SHELLCHECK, "--shell=bash", "--exclude=SC2034", str(settings))  # they are for others to use
    lines = settings.read_text().splitlines()
    for above, line in zip(["", *lines], lines, strict=False):
        assert not line or line.startswith("#") or above.startswith("# "), f"no reason is given for {line}"


def test_the_page_names_every_file():
    page = (LAUNCH / "README.md").read_text()
    for path in LAUNCH.rglob("*"):
        if path.is_file() and path.name != "README.md":
            assert path.relative_to(LAUNCH).as_posix() in page


@pytest.mark.parametrize("kind", ["tpu", "gpu"])
def test_an_image_has_what_its_start_needs(kind):
    lines = re.sub(r"\\\n\s*", "", (LAUNCH / f"Dockerfile.{kind}").read_text()).splitlines()
    copied = [source for line in lines if line.startswith("COPY") for source in line.split()[1:-1]]
    assert set(copied) >= {"setup.py", "pyproject.toml", "README.md", "vlfusion_jax", "configs", "launch"}
    for source in copied:
        assert (ROOT / source).exists()
    assert any(line.startswith("ENV") and f"VLFUSION_PLATFORM={kind}" in line for line in lines)
    assert lines[-1] == 'ENTRYPOINT ["/vlfusion/launch/start.sh"]'
