"""A stored config comes back exactly."""

import json

import pytest

from vlfusion_jax.config.dump import dump_plain, dump_text, load_plain
from vlfusion_jax.config.load import load_config, shipped_configs
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.table import load_stored


@pytest.mark.parametrize("name", shipped_configs())
def test_json_round_trip(name):
    config = load_config(name)
    config.tasks.mlm.schedule = ((0, 0.0), (10, 1 / 3))
    config.optim.freeze = ("a", "b")
    back = load_plain(json.loads(json.dumps(dump_plain(config))), "test")
    assert back.published.to_dict() == config.published.to_dict()
    assert dump_text(back) == dump_text(config)
    assert back.tasks.mlm.schedule == ((0, 0.0), (10, 1 / 3))


def test_text_has_a_sorted_line_per_key():
    lines = dump_text(load_config("configs/tiny.py")).splitlines()
    assert lines == sorted(lines)
    assert "data.image_size = (75, 75)" in lines
    assert "train.steps = 20" in lines


def test_a_stored_config_of_another_schema_is_named():
    plain = dump_plain(load_config("configs/tiny.py"))
    plain["optim"]["momentum"] = 0.9
    with pytest.raises(UserError, match=r"old_run: unknown config key 'optim\.momentum'"):
        load_plain(plain, "old_run")
    plain["optim"]["momentum"] = {"of": 0.9}
    with pytest.raises(UserError, match=r"old_run: unknown config key 'optim\.momentum"):
        load_plain(plain, "old_run")


def test_keys_that_are_younger_than_a_stored_config_have_their_defaults():
    config = load_config("configs/tiny.py")
    plain = dump_plain(config)
    del plain["tasks"]["itc"], plain["tasks"]["combine"], plain["eval"]["beams"], plain["attention"]
    assert dump_text(load_plain(plain, "old_run")) == dump_text(config)
    del plain["model"]["prefix_lm"]
    assert dump_text(load_stored(plain, "old_run")) == dump_text(config)
