"""Config files are found, run and held to the schema."""

import pytest

from vlfusion_jax.config.keys import flatten
from vlfusion_jax.config.load import load_config, shipped_configs
from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core.errors import UserError

FILE = "from vlfusion_jax.config.schema import default_config\ndef get_config(arg=''):\n    config = default_config()\n"


def write(tmp_path, body):
    path = tmp_path / "mine.py"
    path.write_text(FILE + body)
    return path


def test_shipped_configs_load_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "configs/quickstart.py" in shipped_configs()
    assert load_config("configs/quickstart.py").name == "quickstart"
    assert load_config("quickstart.py").name == "quickstart"


def test_a_local_file_goes_before_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quickstart.py").write_text(FILE + "    config.name = 'mine'\n    return config\n")
    assert load_config("configs/quickstart.py").name == "mine"


def test_argument_reaches_get_config(tmp_path):
    path = write(tmp_path, "    config.name = arg or 'none'\n    return config\n")
    assert load_config(f"{path}:some_arg").name == "some_arg"
    assert load_config(str(path)).name == "none"


def test_missing_file_lists_the_shipped_ones():
    with pytest.raises(UserError, match=r"'nowhere\.py' does not exist.*configs/quickstart\.py"):
        load_config("nowhere.py")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("    config.optim.lrr = 1.0\n    return config\n", r'mine\.py:4: .*Did you mean "lr" instead of "lrr"'),
        ("    config.train.steps = 'many'\n    return config\n", r"mine\.py:4: .*steps"),
        ("    return 1 / 0\n", r"mine\.py:4: division by zero"),
        ("    return config +\n", r"mine\.py:4: invalid syntax"),
        ("    return {'steps': 1}\n", r"mine\.py: get_config must return"),
        ("    config.unlock()\n    del config['seed']\n    return config\n", r"mine\.py: config key 'seed' is missing"),
        (
            "    config.unlock()\n    config.sed = 1\n    return config\n",
            r"mine\.py: unknown config key 'sed'\. Did you mean 'seed'",
        ),
    ],
)
def test_a_bad_file_ends_in_one_line_that_names_it(tmp_path, body, message):
    with pytest.raises(UserError, match=message) as raised:
        load_config(str(write(tmp_path, body)))
    assert "\n" not in str(raised.value)


def test_file_without_get_config(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("")
    with pytest.raises(UserError, match=r"empty\.py: defines no function get_config"):
        load_config(str(path))


def test_loaded_configs_are_locked():
    config = load_config("configs/tiny.py")
    assert config.is_locked
    assert config.published.is_locked


def test_defaults_are_fresh_each_time():
    first = default_config()
    first.optim.lr = 7.0
    first.published.x = {"accuracy": 1.0}
    assert default_config().optim.lr != 7.0
    assert not [key for key in flatten(default_config()) if key.startswith("published")]
