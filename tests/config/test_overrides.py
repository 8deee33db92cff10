"""`--config.key=value` changes the config, or is refused in one message with the nearest name."""

import pytest

from vlfusion_jax.config.keys import flatten
from vlfusion_jax.config.load import load_config
from vlfusion_jax.config.overrides import apply_overrides
from vlfusion_jax.core.errors import UserError


@pytest.fixture(scope="module")
def config():
    return load_config("configs/tiny.py")


@pytest.mark.parametrize(
    ("arguments", "key", "value"),
    [
        (["--config.optim.lr=3e-4"], "optim.lr", 3e-4),
        (["--config.optim.lr", "3e-4"], "optim.lr", 3e-4),
        (["--config.optim.lr=2"], "optim.lr", 2.0),
        (["--config.train.steps=7"], "train.steps", 7),
        (["--config.data.flip"], "data.flip", True),
        (["--config.model.scan_layers=false"], "model.scan_layers", False),
        (["--noconfig.model.scan_layers"], "model.scan_layers", False),
        (["--config.data.image_size=(60, 45)"], "data.image_size", (60, 45)),
        (["--config.tasks.mlm.schedule=((0,1.0),(9,.5))"], "tasks.mlm.schedule", ((0, 1.0), (9, 0.5))),
        (["--config.optim.freeze=('embed',)"], "optim.freeze", ("embed",)),
        (["--config.data.path=a=b"], "data.path", "a=b"),
    ],
)
def test_override(config, arguments, key, value):
    changed, rest = apply_overrides(config, arguments)
    before, after = flatten(config), flatten(changed)
    assert rest == []
    assert after[key] == value
    assert type(after[key]) is type(before[key])
    assert {name for name in after if after[name] != before[name]} == {key}


def test_other_arguments_are_left_in_order(config):
    changed, rest = apply_overrides(config, ["word", "--config.seed=3", "--workdir=there", "--json"])
    assert rest == ["word", "--workdir=there", "--json"]
    assert changed.seed == 3


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.optim.lrr=3e-4", "unknown config key 'optim.lrr'. Did you mean 'optim.lr'?"),
        ("--config.trian.steps=3", "unknown config key 'trian.steps'. Did you mean 'train.steps'?"),
        ("--config.batch_size=3", "unknown config key 'batch_size'. Did you mean"),
        ("--config.zzz=3", "unknown config key 'zzz'."),
        ("--config.optim.lr=fast", "config key 'optim.lr' is of type float, such as 0.003; got 'fast'."),
        ("--config.train.steps=1.5", "config key 'train.steps' is of type int, such as 20; got '1.5'."),
        ("--config.data.flip=maybe", "config key 'data.flip' is of type bool, such as False; got 'maybe'."),
        ("--config.data.image_size=(3, 4", "config key 'data.image_size' is of type tuple"),
        ("--config.seed", "Missing value for flag --config.seed"),
    ],
)
def test_bad_override(config, argument, message):
    with pytest.raises(UserError) as raised:
        apply_overrides(config, [argument])
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)
