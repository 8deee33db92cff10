"""What lies beside the tensors of a checkpoint."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from vlfusion_jax.convert.source import open_checkpoint


@pytest.mark.parametrize(
    ("own", "whole", "found"),
    [
        ({"size": 8}, "cut short {", {"size": 8}),  # the newer file is not read where the older one is there
        (None, json.dumps({"image_processor": {"size": 9}}), {"size": 9}),
        (None, json.dumps({"image_processor": None}), {}),
        (None, json.dumps({"image_processor": "ViltImageProcessor"}), {}),
        (None, json.dumps({}), {}),
    ],
)
def test_how_images_are_processed(tmp_path, own, whole, found):
    save_file({"weight": np.zeros(2, np.float32)}, tmp_path / "model.safetensors")
    (tmp_path / "processor_config.json").write_text(whole)
    if own is not None:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(own))
    assert open_checkpoint(str(tmp_path)).processor == found
