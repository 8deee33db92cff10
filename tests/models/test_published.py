"""Parameters as published, and FLOPs as PyTorch counts them in the models of `transformers`, within 1 %."""

import numpy as np
import pytest
import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vlfusion_jax.core import names
from vlfusion_jax.models.activations import count_activations
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.published import PUBLISHED
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.models.flops import part_flops
from vlfusion_jax.models.parameters import param_shapes, part_parameters
from vlfusion_jax.models.spec.model import ModelSpec


def spec_of(family: str, size: str = "base", **changes) -> tuple[ModelSpec, Given]:
    given = PUBLISHED[family, size].given
    return FAMILIES[family].spec(hyperparameters(family, size, **changes), given), given


@pytest.mark.parametrize(("family", "size"), PUBLISHED)
def test_parameters(family, size):
    published = PUBLISHED[family, size]
    parameters = sum(part_parameters(spec_of(family, size)[0], published.heads).values())
    assert abs(parameters / published.parameters - 1) < 0.01


def test_what_pads_a_table_does_not_count():
    spec, given = spec_of("vilt", "base")
    heads = (names.MLM, names.VQA)
    padded = sum(int(np.prod(shape)) for shape in param_shapes(spec, heads).values())
    words, answers = -given.vocab % 512, -given.answers % 128  # large tables, and others
    assert padded - sum(part_parameters(spec, heads).values()) == words * (768 + 1) + answers * (1536 + 1)


def ids(*shape: int) -> torch.Tensor:
    return torch.ones(shape, dtype=torch.long)


def pixels(side: int) -> torch.Tensor:
    return torch.zeros(1, 3, side, side)


# Class, configuration, inputs; our family, and the heads that theirs applies.
MODELS = {
    "vilt": (
        transformers.ViltModel, transformers.ViltConfig(),
        lambda: {"input_ids": ids(1, 40), "image_embeds": torch.zeros(1, 145, 768),
                 "pixel_mask": ids(1, 145)}, (),
    ),
    "visualbert": (
        transformers.VisualBertModel, transformers.VisualBertConfig(visual_embedding_dim=512),
        lambda: {"input_ids": ids(1, 20), "visual_embeds": torch.zeros(1, 100, 512)}, (),
    ),
    "lxmert": (
        transformers.LxmertModel, transformers.LxmertConfig(),
        lambda: {"input_ids": ids(1, 20), "visual_feats": torch.zeros(1, 36, 2048),
                 "visual_pos": torch.zeros(1, 36, 4)}, (),
    ),
    "bridgetower": (
        transformers.BridgeTowerModel, transformers.BridgeTowerConfig(),
        lambda: {"input_ids": ids(1, 50), "pixel_values": pixels(288), "attention_mask": ids(1, 50)}, (),
    ),
    "blip": (
        transformers.BlipForConditionalGeneration,
        transformers.BlipConfig(text_config={"num_attention_heads": 12}),
        lambda: {"input_ids": ids(1, 20), "pixel_values": pixels(384)}, (names.CAPTION,),
    ),
    "clip": (
        transformers.CLIPModel, transformers.CLIPConfig(),
        lambda: {"input_ids": ids(1, 77), "pixel_values": pixels(224)}, (names.CONTRASTIVE,),
    ),
    "siglip": (
        transformers.SiglipModel, transformers.SiglipConfig(),
        lambda: {"input_ids": ids(1, 64), "pixel_values": pixels(224)}, (names.CONTRASTIVE,),
    ),
    "bert": (transformers.BertModel, transformers.BertConfig(), lambda: {"input_ids": ids(1, 128)}, ()),
    "vit": (transformers.ViTModel, transformers.ViTConfig(), lambda: {"pixel_values": pixels(224)}, ()),
    "resnet": (transformers.ResNetModel, transformers.ResNetConfig(), lambda: {"pixel_values": pixels(224)}, ()),
}  # fmt: skip


@pytest.mark.parametrize("family", MODELS)
def test_flops(family):
    kind, config, inputs, heads = MODELS[family]
    config._attn_implementation = "eager"
    # Without memory or time, but for models that look at what their masks hold.
    device = "cpu" if family in ("vilt", "visualbert", "bridgetower") else "meta"
    with torch.device(device), torch.no_grad():
        model = kind(config).eval()
        # Fused attention is not counted; its parts are.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(**inputs())
    spec, given = spec_of(family)
    parts = part_flops(spec, given.text_length, heads, target_tokens=given.text_length)
    embedded = parts["image"] if family == "vilt" else 0  # theirs is given its patches embedded
    assert abs((sum(parts.values()) - embedded) / counter.get_total_flops() - 1) < 0.01


def test_activations_of_one_layer_by_hand():
    given = Given(300, 5, 6, (8, 12))
    spec = FAMILIES["single_stream"].spec(
        hyperparameters("single_stream", width=8, heads=2, mlp_width=20, layers=3, patch_size=4), given
    )
    tokens = 6 + 2 * 3
    # Query, key, value; attended; output; the two of the MLP; and the scores of two heads.
    layer = tokens * (3 * 8 + 8 + 8 + 20 + 8) + 2 * tokens * tokens
    assert count_activations(spec, (names.ITM,), 6) == 6 * 8 + 3 * layer + 8 + 2
