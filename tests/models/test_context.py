"""The head `context`: one projection of what a family pools, where it pools anything."""

import jax
import numpy as np
import pytest

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters, model_spec
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.inputs import input_shapes

WIDTH, ROWS = 13, 3


def spec_of(family: str, **changes):
    config = default_config()
    config.model = hyperparameters(family, "tiny", **changes)
    config.data.image_size = (2 * config.model.get("patch_size", 32),) * 2
    config.data.caption_length = config.data.question_length = 6
    config.tasks.vqa.weight, config.tasks.context.weight, config.tasks.context.width = 0.0, 1.0, WIDTH
    return model_spec(config, 50, 7)


@pytest.mark.parametrize("family", ["single_stream", "bridgetower", "late_fusion", "clip"])
def test_a_projection_of_the_fused_vector(family):
    """Of late fusion, of each vector, added by its weight."""
    spec = spec_of(family)
    rng = np.random.default_rng(5)
    inputs = {
        name: (rng.integers(2, 50, shape.shape) if name == "text" else np.ones(shape.shape)).astype(shape.dtype)
        for name, shape in input_shapes(spec.inputs, rows=ROWS).items()
    }
    model = FusionModel(spec)
    output, variables = jax.jit(lambda x: model.init_with_output(jax.random.key(2), x, (names.CONTEXT,)))(inputs)
    found, head = output.logits[names.CONTEXT], jax.device_get(variables["params"]["head_context"])
    assert found.shape == (ROWS, WIDTH)
    assert found.dtype == np.float32

    def projected(vector, of):
        return np.asarray(vector, np.float64) @ np.asarray(of["classes"]["kernel"].value) + of["classes"]["bias"].value

    if isinstance(output.pooled, tuple):
        weights = np.exp(head["weights"].value) / np.exp(head["weights"].value).sum()
        each = [projected(x, head[f"vector_{i}"]) for i, x in enumerate(output.pooled)]
        expected = sum(weight * x for weight, x in zip(weights, each, strict=True))
    else:
        expected = projected(output.pooled, head)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_it_or_says_why_not(family):
    if family == "blip":
        with pytest.raises(UserError, match="task context reads one vector of image and text, but the model has none"):
            spec_of(family, variant="captioning")
        family_spec = spec_of(family, variant="retrieval")
    elif family in ("bert", "roberta", "vit", "resnet"):  # text or image alone
        with pytest.raises(UserError, match="task context reads one vector of image and text, but the model has none"):
            spec_of(family)
        return
    else:
        family_spec = spec_of(family)
    assert family_spec.head(names.CONTEXT).padded == WIDTH
