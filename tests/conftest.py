"""Eight simulated CPU devices, a compilation cache kept between runs, and third-party data found or skipped."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "vlfusion_jax" / "compiled"))
os.environ.setdefault("JAX_PERSISTENT_COMPILATION_CACHE_MIN_COMPILE_TIME_SECS", "0.5")

import jax

jax.config.update("jax_num_cpu_devices", 8)

DATA = Path(os.environ.get("VLFUSION_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data_folder() -> Callable[[str], Path]:
    """Function name -> folder of that third-party data set, which skips the test where it is missing."""

    def find(name: str) -> Path:
        folder = DATA / name
        if not folder.is_dir():
            pytest.skip(f"{folder} is missing; set VLFUSION_DATA to the folder that holds {name}")
        return folder

    return find
