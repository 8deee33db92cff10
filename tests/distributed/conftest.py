"""Data that several processes read."""

import pytest

from tests.processes import ROOT
from vlfusion_jax.config.load import load_config
from vlfusion_jax.data.source import open_source


@pytest.fixture(scope="package")
def tiny_data(tmp_path_factory):
    """Folder with the data of configs/tiny.py, built before several processes read it."""
    config = load_config(str(ROOT / "configs/tiny.py"))
    config.data.path = str(tmp_path_factory.mktemp("data"))
    for split in (config.data.train_split, config.data.eval_split):
        open_source(config.data, split)
    return config.data.path
