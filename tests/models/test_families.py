"""The families by name: their sizes, and hyperparameters that are refused by name."""

import pytest

from vlfusion_jax.config.load import load_config
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters, model_spec


def spec_of(**values):
    config = load_config("configs/tiny.py")
    if "family" in values:
        config.model = hyperparameters(values["family"])
    with config.ignore_type(), config.unlocked():
        for key, value in values.items():
            config[key.partition("__")[0] if "__" in key else "model"][key.partition("__")[2] or key] = value
    return model_spec(config, 50, 7)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 33}, "model.width 33 does not divide by model.heads 2"),
        ({"patch_size": 16}, r"data.image_size \(75, 75\) does not divide by model.patch_size 16"),
        ({"family": "lxmert", "region_patch": 16}, "does not divide by model.region_patch 16; change one of them.$"),
        ({"layers": 0}, "the model has no layers"),
        ({"layers": -1}, "model.layers is -1; it must not be negative"),
        ({"dropout": 1.0}, "model.dropout is 1.0; it must be at least 0 and below 1"),
        ({"conv_channels": ()}, "model.conv_channels is \\(\\)"),
        ({"conv_channels": (32, 1.5)}, "model.conv_channels"),
        ({"family": "clip", "pixel_std": (0.5, 0.0, 0.5)}, "model.pixel_std is .* one or more numbers above 0"),
        ({"family": "clip", "image_heads": 5}, "model.image_width 768 does not divide by model.image_heads 5"),
        ({"norm": "after"}, "model.norm is 'after'; it must be one of pre, post"),
        ({"activation": "geluu"}, "model.activation is 'geluu'.*Did you mean 'gelu'"),
        ({"heads": 2.0}, "'model.heads' is of type int; got 2.0"),
        ({"depth": 3}, "unknown config key 'model.depth' of family 'single_stream'"),
    ],
)
def test_refused(values, message):
    with pytest.raises(UserError, match=message) as raised:
        spec_of(**values)
    assert "\n" not in str(raised.value)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UserError, match=r"model.family is 'two_streams'.*Did you mean 'two_stream'"):
        hyperparameters("two_streams")
    with pytest.raises(UserError, match=r"family 'single_stream' has no size 'bass'.*Did you mean 'base'"):
        hyperparameters("single_stream", "bass")
    with pytest.raises(UserError, match=r"has no hyperparameter 'layer'.*Did you mean 'layers'"):
        hyperparameters("single_stream", layer=3)


def test_what_does_not_apply_is_not_checked():
    spec_of(image_tokens="conv", patch_size=16)
    spec_of(family="two_stream", layers=0, text_layers=0, image_layers=0, patch_size=15)


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_are_sorted_and_every_size_is_complete(family):
    for size in FAMILIES[family].SIZES:
        model = hyperparameters(family, size)
        assert model.family == family
