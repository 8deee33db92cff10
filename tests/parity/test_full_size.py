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


def vilt(cells: tuple[int, int], shortest: int) -> Callable[[Pair], None]:
    """Images whose sides are at least so many pixels, on a canvas of so many patches."""

    def check(pair: Pair) -> None:
        inputs = test_vilt.draw_inputs(pair.theirs.config, 0, rows=2, cells=cells, shortest=shortest)
        test_vilt.check(pair, inputs, FULL)

    return check


def blip(pair: Pair) -> None:
    inputs = test_blip.draw_inputs(pair.theirs.config, 0, pair.ours.architecture, rows=2)
    test_blip.check_decoded(pair, inputs, FULL)


def tower(draw_inputs: Callable[..., dict]) -> Callable[[Pair], None]:
    return lambda pair: test_towers.check(pair, draw_inputs(pair.theirs.config, 0), FULL)


def dual_encoder(module: ModuleType) -> Callable[[Pair], None]:
    return lambda pair: module.check(pair, module.draw_texts(pair.theirs.config, 0), FULL)


CASES = {
    "vilt_square": Case("ViltForQuestionAnswering", vilt((12, 12), 384), {"num_labels": 3129}),
    "vilt_wide": Case("ViltForQuestionAnswering", vilt((12, 20), 100), {"num_labels": 3129}),
    "visualbert": Case(
        "VisualBertForPreTraining",
        lambda pair: test_visualbert.check(pair, test_visualbert.draw_inputs(pair.theirs.config, 0), FULL),
        {},
    ),
    "lxmert": Case("LxmertForPreTraining", lambda pair: test_lxmert.check_pretraining(pair, 0, FULL), {}),
    "bridgetower": Case(
        "BridgeTowerForMaskedLM",
        lambda pair: test_bridgetower.check(pair, test_bridgetower.draw_inputs(pair.theirs.config, 0, rows=2), FULL),
        {"attn_implementation": "eager"},  # other implementations return no attention maps
    ),
    "blip_captioning": Case("BlipForConditionalGeneration", blip, {}),
    "blip_questions": Case("BlipForQuestionAnswering", blip, {}),
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
