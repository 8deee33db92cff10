"""Models of their published size, the defaults of `transformers`, with random weights: every output.

`pytest -m slow -k resnet_50 tests/parity/test_full_size.py` runs one of them; the largest needs 7 GB of memory.
"""

import gc
import shutil
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import pytest
import transformers

from tests.parity import (
    test_blip,
    test_bridgetower,
    test_clip,
    test_lxmert,
    test_resnet,
    test_siglip,
    test_towers,
    test_vilt,
    test_visualbert,
)
from tests.parity.conftest import FULL, Pair


class Case(NamedTuple):
    """A class of `transformers`, how to hold it equal, and what its configuration has besides the defaults."""

    architecture: str
    check: Callable[[Pair], None]
    settings: dict[str, Any]


def vilt(cells: tuple[int, int] = (12, 12), shortest: int = 100, loss: bool = False) -> Callable[[Pair], None]:
    """Images whose sides are at least so many pixels, on a canvas of so many patches; the loss too if asked for.

    That of questions is a sum over thousands of answers: one step of f32 at its size is more than the bound.
    """

    def check(pair: Pair) -> None:
        config = pair.theirs.config
        inputs = test_vilt.draw_inputs(config, 0, rows=2, cells=cells, shortest=shortest)
        labels = test_vilt.draw_labels(pair.ours.architecture, config, inputs, 0) if loss else None
        test_vilt.check(pair, inputs, FULL, labels)

    return check


def visualbert(pair: Pair) -> None:
    test_visualbert.check(pair, test_visualbert.draw_inputs(pair.theirs.config, 0), FULL)


def seeded(check: Callable[[Pair, int, float], None]) -> Callable[[Pair], None]:
    return lambda pair: check(pair, 0, FULL)


def bridgetower(check: Callable[[Pair, dict, float], None]) -> Callable[[Pair], None]:
    return lambda pair: check(pair, test_bridgetower.draw_inputs(pair.theirs.config, 0, rows=2), FULL)


def blip(check: Callable[[Pair, dict, float], None]) -> Callable[[Pair], None]:
    def run(pair: Pair) -> None:
        check(pair, test_blip.draw_inputs(pair.theirs.config, 0, pair.ours.architecture, rows=2), FULL)

    return run


def tower(draw_inputs: Callable[..., dict]) -> Callable[[Pair], None]:
    return lambda pair: test_towers.check(pair, draw_inputs(pair.theirs.config, 0), FULL)


def dual_encoder(module: ModuleType) -> Callable[[Pair], None]:
    return lambda pair: module.check(pair, module.draw_texts(pair.theirs.config, 0), FULL)


EAGER = {"attn_implementation": "eager"}  # other implementations return no attention maps of BridgeTower
CASES = {
    "vilt_square": Case("ViltForQuestionAnswering", vilt((12, 12), 384), {"num_labels": 3129}),
    "vilt_wide": Case("ViltForQuestionAnswering", vilt((12, 20), 100), {"num_labels": 3129}),
    "vilt_model": Case("ViltModel", vilt(), {}),
    "vilt_words": Case("ViltForMaskedLM", vilt(loss=True), {}),
    "vilt_pairs": Case(
        "ViltForImagesAndTextClassification", vilt(loss=True), {"num_images": 2, "modality_type_vocab_size": 3}
    ),
    "vilt_retrieval": Case("ViltForImageAndTextRetrieval", vilt(), {}),
    "visualbert_model": Case("VisualBertModel", visualbert, {}),
    "visualbert_pretraining": Case("VisualBertForPreTraining", visualbert, {}),
    "visualbert_questions": Case(
        "VisualBertForQuestionAnswering", seeded(test_visualbert.check_question_answering), {"num_labels": 3129}
    ),
    "visualbert_reasoning": Case("VisualBertForVisualReasoning", seeded(test_visualbert.check_visual_reasoning), {}),
    "lxmert_model": Case("LxmertModel", seeded(test_lxmert.check_model), {}),
    "lxmert_pretraining": Case("LxmertForPreTraining", seeded(test_lxmert.check_pretraining), {}),
    "lxmert_questions": Case("LxmertForQuestionAnswering", seeded(test_lxmert.check_question_answering), {}),
    "bridgetower_words": Case("BridgeTowerForMaskedLM", bridgetower(test_bridgetower.check), EAGER),
    "bridgetower_retrieval": Case("BridgeTowerForImageAndTextRetrieval", bridgetower(test_bridgetower.check), EAGER),
    "bridgetower_contrastive": Case(
        "BridgeTowerForContrastiveLearning",
        bridgetower(test_bridgetower.check_contrastive),
        EAGER | {"contrastive_hidden_size": 512, "logit_scale_init_value": 2.6592},  # the default has neither
    ),
    "blip_captioning": Case("BlipForConditionalGeneration", blip(test_blip.check_decoded), {}),
    "blip_questions": Case("BlipForQuestionAnswering", blip(test_blip.check_decoded), {}),
    "blip_retrieval": Case("BlipForImageTextRetrieval", blip(test_blip.check_retrieval), {}),
    "clip": Case("CLIPModel", dual_encoder(test_clip), {}),
    "siglip": Case("SiglipModel", dual_encoder(test_siglip), {}),
    "bert": Case("BertModel", tower(test_towers.draw_text), {}),
    "roberta": Case("RobertaModel", tower(test_towers.draw_text), {}),
    "vit": Case("ViTModel", tower(test_towers.draw_image), {}),
    "resnet_50": Case(
        "ResNetModel",
        lambda pair: test_resnet.check_stages(pair, *test_resnet.draw_inputs(0, 224, 320), FULL),
        {},
    ),
}


@pytest.fixture
def nothing_left(tmp_path):
    """Memory and disk as they were before."""
    yield
    shutil.rmtree(tmp_path)
    gc.collect()
    jax.clear_caches()


@pytest.mark.slow
@pytest.mark.usefixtures("raster_order", "nothing_left")
@pytest.mark.parametrize("name", CASES)
def test_every_output(convert, name):
    architecture, check, settings = CASES[name]
    kind = getattr(transformers, architecture)
    check(convert(kind, kind.config_class(**settings)))
