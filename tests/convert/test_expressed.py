"""What a `config.json` of `transformers` cannot say is refused when it would be written."""

import numpy as np
import pytest

from vlfusion_jax.convert.hugging_face import CONVERTERS, export_model
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.models.parameters import param_shapes

SQUARE, ANSWERS = (32, 32), ("red", "two", "no")
REGIONS = {"region_patch": 0, "region_features": 6}


def export(family: str, architecture: str, size=SQUARE, hidden: int = 0, scan: bool = True, **changes):
    """A tiny model of zeros with the heads of the class, written for it."""
    model = hyperparameters(family, "tiny", **changes, scan_layers=scan)
    room = model.text_positions - model.get("position_offset", 0) if "text_positions" in model else 1
    sizes = Given(70, len(ANSWERS), room, size, hidden)
    heads = CONVERTERS[family].HEADS[architecture]
    shapes = param_shapes(FAMILIES[family].spec(model, sizes), heads)
    params = {path: np.zeros(shape, np.float32) for path, shape in shapes.items()}
    return export_model(family, model, sizes, architecture, params, ANSWERS if "vqa" in heads else ())


CANNOT = {
    "hidden width of answers": (
        {"family": "vilt", "architecture": "ViltForQuestionAnswering", "hidden": 48},
        "head_vqa/expand/kernel: [32, 48] here, [32, 64] there",
    ),
    "a grid that is no square": (
        {"family": "vilt", "architecture": "ViltModel", "grid": (2, 4)},
        "image/grid/positions/table: [8, 32] here, [4, 32] there",
    ),
    "patches as regions": (
        {"family": "lxmert", "architecture": "LxmertForPreTraining"}, "image/regions/projection/kernel: [192, ",
    ),
    "patches as regions, VisualBERT": (
        {"family": "visualbert", "architecture": "VisualBertModel"}, "image/regions/projection/kernel: [192, ",
    ),
    "pictures that are no squares": (
        {"family": "vit", "architecture": "ViTModel", "size": (32, 64)}, "image/grid/positions/table: [",
    ),
    "a pooler": (
        {"family": "vit", "architecture": "ViTForImageClassification"},
        "image_pooler/projection/kernel: [32, 32] here, none there",
    ),
    "BLIP": (
        {"family": "blip", "architecture": "BlipForConditionalGeneration", "size": (64, 32)},
        "image/grid/positions/table: [",
    ),
    "BridgeTower": (
        {"family": "bridgetower", "architecture": "BridgeTowerModel", "size": (32, 64)},
        "image/grid/positions/table: [",
    ),
    "modalities": (
        {"family": "bridgetower", "architecture": "BridgeTowerModel", "modalities": 3},
        "modality/table: [3, 32] here, [2, 32] there",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CANNOT)
def test_shapes_that_no_configuration_says(what):
    arguments, message = CANNOT[what]
    with pytest.raises(UserError, match=r"cannot say what this model is") as error:
        export(**arguments)
    assert message in str(error.value)


@pytest.mark.parametrize("scan", [True, False])
@pytest.mark.parametrize(
    ("family", "architecture", "changes"),
    [
        ("vilt", "ViltForQuestionAnswering", {}),
        ("lxmert", "LxmertForPreTraining", REGIONS),
        ("vit", "ViTForImageClassification", {"pooler": False}),
        ("bert", "BertForMaskedLM", {}),
        ("bridgetower", "BridgeTowerModel", {}),
    ],
)
def test_others_are_written(family, architecture, changes, scan):
    tensors, config = export(family, architecture, scan=scan, **changes)
    assert tensors
    assert config["architectures"] == [architecture]
