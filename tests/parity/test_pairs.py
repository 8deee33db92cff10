"""The task of pairs, on its own batch, against classes of `transformers`: logits, loss and gradients."""

import jax
import numpy as np
import pytest
import torch
import transformers

from tests.parity import test_vilt as vilt_parity
from tests.parity import test_visualbert as visualbert_parity
from tests.parity.conftest import TINY, close, gradients_close
from tests.parity.regions import draw_text
from vlfusion_jax.core import names
from vlfusion_jax.core.tree import flatten, nested
from vlfusion_jax.models.families import visualbert
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.ops.masks import normalise_pixels, patch_mask, split_patches
from vlfusion_jax.tasks.nlvr import LABEL, WEIGHT, VisualReasoning
from vlfusion_jax.train.objective import make_objective
from vlfusion_jax.train.views import run_views

PAIRS = 4
LABELS, WEIGHTS = np.array([1, 0, 0, 1], np.int32), np.array([1, 1, 0, 1], np.float32)
TASK = VisualReasoning()


def batch_of(inputs):
    """The inputs of a model as a batch of pairs: one statement a pair, two images in order."""
    places = {names.IMAGE_MODALITY: np.tile(np.array([1, 2], np.int32), PAIRS)}
    of_text = {name: inputs[name] for name in (names.TEXT, names.TEXT_MASK, names.types_of(names.TEXT))}
    batch = {names.key(names.STATEMENT, name): array for name, array in (of_text | places).items()}
    images = {name: inputs[name] for name in (names.IMAGE, names.IMAGE_MASK)}
    return batch | images | {LABEL: LABELS, WEIGHT: WEIGHTS}


def check(pair, spec, batch, logits):
    """Hold logits, the mean loss of the pairs that count, and its gradient of every parameter equal."""
    model, params = FusionModel(spec), nested(pair.ours.params)
    ours = jax.jit(lambda params: run_views(model, params, batch, (TASK,), None)[TASK.view].logits[TASK.name])
    close(ours(params), logits, TINY)
    kept = torch.tensor(WEIGHTS > 0)
    loss = torch.nn.functional.cross_entropy(logits[kept], torch.tensor(LABELS).long()[kept])
    objective, scales = make_objective(model, (TASK,)), {TASK.name: 1 / TASK.weight(batch)}
    graded = jax.value_and_grad(lambda params: objective(params, batch, scales, jax.random.key(0))[0])
    value, gradient = jax.jit(graded)(params)
    close(value, loss, TINY)
    loss.backward()
    gradients_close(flatten(gradient), pair.their_gradient())


@pytest.mark.usefixtures("raster_order")
def test_vilt(convert):
    config = vilt_parity.draw(50, num_images=2, modality_type_vocab_size=3)
    pair = convert(transformers.ViltForImagesAndTextClassification, config, 50)
    assert pair.ours.model.dropout == 0, "the objective is that of training"
    inputs = vilt_parity.draw_inputs(config, 50, rows=PAIRS)
    theirs = pair.theirs(**vilt_parity.their_inputs(inputs, 2)).logits
    check(pair, pair.ours.spec, batch_of(inputs), theirs)


def test_visualbert(convert):
    """Patches for regions, those of both images in one row, of types 0 and 1 (Li et al. 2019, section 4.3)."""
    patch, size, tokens = 4, (8, 12), visualbert_parity.TOKENS
    config = visualbert_parity.draw(51, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    config.visual_embedding_dim = 3 * patch**2
    pair = convert(transformers.VisualBertForVisualReasoning, config, 51)
    rng = np.random.default_rng(51)
    mask = np.zeros((2 * PAIRS, *size), np.uint8)
    for each, (height, width) in zip(mask, rng.integers(1, size, (2 * PAIRS, 2), endpoint=True), strict=True):
        each[:height, :width] = 1
    inputs = draw_text(rng, PAIRS, tokens, config.vocab_size, config.type_vocab_size, True)
    inputs |= {names.IMAGE: rng.random((*mask.shape, 3), np.float32), names.IMAGE_MASK: mask}
    vectors = np.array(split_patches(normalise_pixels(inputs[names.IMAGE], mask, np.float32), patch))
    joined = {
        names.REGIONS: vectors.reshape(PAIRS, -1, vectors.shape[-1]),
        names.REGION_MASK: np.array(patch_mask(mask, patch)).reshape(PAIRS, -1),
    }
    types = np.tile(np.arange(2).repeat(vectors.shape[1]), (PAIRS, 1))
    theirs = visualbert_parity.their_inputs(inputs | joined) | {"visual_token_type_ids": torch.tensor(types)}
    model = pair.ours.model.copy_and_resolve_references()
    model.region_patch = patch
    spec = visualbert.spec(model, Given(config.vocab_size, 1, tokens, size))
    check(pair, spec, batch_of(inputs), pair.theirs(**theirs).logits)
