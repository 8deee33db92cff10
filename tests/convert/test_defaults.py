"""What a `config.json` leaves out means what it means to the class of `transformers`."""

import pytest
import transformers

from vlfusion_jax.convert.hugging_face import CONVERTERS
from vlfusion_jax.models.families.table import check_model, hyperparameters


@pytest.mark.parametrize("family", CONVERTERS)
def test_an_empty_configuration_is_the_default_one(family):
    converter = CONVERTERS[family]
    full = transformers.CONFIG_MAPPING[converter.MODEL_TYPE]().to_dict()
    model = hyperparameters(family, **converter.hyperparameters({}))
    assert model == hyperparameters(family, **converter.hyperparameters(full))
    assert converter.given({}, 3) == converter.given(full, 3)
    check_model(model)
    for name, value in converter.REQUIRED.items():
        assert full.get(name, value) == value
