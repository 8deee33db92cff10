"""A work directory goes on only with a config that learns the same."""

import pytest

from vlfusion_jax.config.keys import flatten
from vlfusion_jax.config.load import load_config
from vlfusion_jax.config.resume import MAY_CHANGE, check_workdir, differing_keys, write_config
from vlfusion_jax.core.errors import UserError


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "runs" / "tiny"
    write_config(folder, load_config("configs/tiny.py"))
    return folder


def test_a_fresh_folder_takes_any_config(tmp_path):
    check_workdir(tmp_path / "not_there", load_config("configs/tiny.py"))
    check_workdir(tmp_path, load_config("configs/tiny.py"))
    assert not list(tmp_path.iterdir())


def test_a_place_where_no_folder_can_be_is_named(tmp_path, monkeypatch):
    file, config = tmp_path / "file", load_config("configs/tiny.py")
    file.touch()
    for workdir in (file, file / "runs" / "tiny"):
        with pytest.raises(UserError, match=rf"work directory {workdir}: {file} is a file"):
            check_workdir(workdir, config)
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path)  # root may write anywhere
    with pytest.raises(UserError, match=rf"runs/tiny: {tmp_path} is not writable; choose another --workdir"):
        check_workdir(tmp_path / "runs" / "tiny", config)


def test_the_same_config_may_go_on(workdir):
    check_workdir(workdir, load_config("configs/tiny.py"))
    assert [path.name for path in workdir.iterdir()] == ["config.json"]


def test_what_does_not_change_learning_may_change(workdir):
    after = load_config("configs/tiny.py")
    after.sharding = "fsdp"
    after.data.threads = 5
    after.checkpoint.every = 3
    after.eval.batch_size = 2
    after.train.micro_batches = 2
    after.data.eval_limit = 4
    after.model.remat = "full"
    check_workdir(workdir, after)


def test_micro_batches_may_not_change_under_dropout(tmp_path):
    config = load_config("configs/tiny.py")
    config.model.attention_dropout = 0.1
    write_config(tmp_path, config)
    config.train.micro_batches = 2
    with pytest.raises(UserError, match=r"train\.micro_batches \(there 1, now 2\)"):
        check_workdir(tmp_path, config)


def test_each_other_difference_is_named_with_both_values(workdir):
    after = load_config("configs/tiny.py:two_stream")
    after.optim.lr = 0.5
    assert differing_keys(load_config("configs/tiny.py"), after) == ["model.family", "optim.lr"]
    before = (workdir / "config.json").read_bytes()
    with pytest.raises(UserError, match=r"runs/tiny belongs to .*optim\.lr \(there 0\.003, now 0\.5\)"):
        check_workdir(workdir, after)
    assert (workdir / "config.json").read_bytes() == before


def test_the_first_config_stays(workdir):
    after = load_config("configs/tiny.py")
    after.data.threads = 5
    before = (workdir / "config.json").read_bytes()
    write_config(workdir, after)
    assert (workdir / "config.json").read_bytes() == before


def test_a_damaged_file_is_named(workdir):
    (workdir / "config.json").write_text('{"seed": ')
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        check_workdir(workdir, load_config("configs/tiny.py"))


def test_the_allowed_keys_exist():
    keys = flatten(load_config("configs/quickstart.py"))
    for allowed in MAY_CHANGE:
        assert any(key == allowed or (allowed.endswith(".") and key.startswith(allowed)) for key in keys), allowed
