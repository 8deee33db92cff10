"""Compiled programs on disk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlfusion_jax.plan.candidate import TooLargeError, compile_step
from vlfusion_jax.plan.kept import Refused, key_of, read, taken, write
from vlfusion_jax.train.setup import build


def lowered(scale: float):
    return jax.jit(lambda x: jnp.tanh(scale * x) @ x.T).lower(np.ones((8, 4), np.float32))


def test_what_is_kept_is_what_was_compiled(tmp_path):
    key, compiled = key_of(lowered(2.0), jax.devices()), lowered(2.0).compile()
    assert read(tmp_path, key) is None
    write(tmp_path / "deep", key, taken(compiled, 1.5))
    kept = read(tmp_path / "deep", key)
    assert (kept.as_text(), kept.seconds) == (compiled.as_text(), 1.5)
    assert kept.memory_analysis().argument_size_in_bytes == compiled.memory_analysis().argument_size_in_bytes > 0
    assert len(list((tmp_path / "deep").iterdir())) == 1


def test_other_programs_devices_and_flags_have_other_names(monkeypatch):
    here = jax.devices()
    keys = [key_of(lowered(2.0), here), key_of(lowered(3.0), here), key_of(lowered(2.0), here[:4])]
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--xla_jf_debug=1")
    keys.append(key_of(lowered(2.0), here))
    assert len(set(keys)) == 4


def test_a_broken_file_is_compiled_again(tmp_path):
    key = key_of(lowered(2.0), jax.devices())
    write(tmp_path, key, taken(lowered(2.0).compile(), 1.0))
    [file] = tmp_path.iterdir()
    whole = file.read_bytes()
    flipped = (whole[:i] + bytes([whole[i] ^ 255]) + whole[i + 1 :] for i in range(10, len(whole), 40))
    for content in (whole[:-20], b"", b"no gzip", *flipped):
        file.write_bytes(content)
        assert read(tmp_path, key) is None


@pytest.mark.parametrize("share", [1.5, None])
def test_what_did_not_fit_is_kept_too(tmp_path, share):
    write(tmp_path, "key", Refused("does not fit: 24G of 16G", share))
    assert read(tmp_path, "key") == Refused("does not fit: 24G of 16G", share)


def test_nothing_is_left_of_what_could_not_be_written(tmp_path):
    (tmp_path / "key.json.gz").mkdir()
    write(tmp_path, "key", Refused("does not fit", None))
    assert [path.name for path in tmp_path.iterdir()] == ["key.json.gz"]
    assert read(tmp_path, "key") is None


class Refusing:
    """A program whose compiler ends with this message."""

    def __init__(self, message: str):
        self.message = message

    def compile(self):
        raise jax.errors.JaxRuntimeError(self.message)


@pytest.mark.parametrize(
    ("message", "share"),
    [
        ("RESOURCE_EXHAUSTED: Ran out of memory.\nUsed 31.50G of 15.75G hbm. Exceeded hbm capacity by 15.75G.", 2.0),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (20.00G) "
            "exceeds available HBM (16.00G).",
            1.25,
        ),
        ("RESOURCE_EXHAUSTED: hbm is full", None),
    ],
)
def test_a_program_that_is_too_large_says_by_how_much(small_run, message, share):
    with pytest.raises(TooLargeError, match="does not fit: ") as caught:
        compile_step(small_run, Refusing(message))
    assert caught.value.share == share


@pytest.fixture
def small_run(small_config, small_vocabulary):
    return build(small_config(), small_vocabulary, jax.devices()[:1])
