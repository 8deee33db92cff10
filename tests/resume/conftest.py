"""The smallest real run: the tiny config on a few images."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from vlfusion_jax.config.load import load_config


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ConfigDict]:
    """Function of dotted changes → config of 16 training and 8 test images, built once."""
    folder = tmp_path_factory.mktemp("images")
    tiny = Path(__file__).resolve().parents[2] / "configs" / "tiny.py"

    def config(**changes) -> ConfigDict:
        loaded = load_config(str(tiny))
        values = {"data.source": "sort_of_clevr:16,8", "data.path": str(folder), "model.dropout": 0.1} | changes
        loaded.update_from_flattened_dict(values)
        return loaded

    return config
