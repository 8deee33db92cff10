"""SigLIP against `transformers`: both towers, their pools and the loss, for configurations drawn from a seed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from tests.parity.conftest import TINY, Pair, close, seeds
from tests.parity.dual import check_towers, draw_inputs, draw_sections, their_inputs
from vlfusion_jax.core import names
from vlfusion_jax.models.spec.streams import TEXT, pooled_of


def draw(seed: int) -> transformers.SiglipConfig:
    text, vision = draw_sections(seed, ("gelu_pytorch_tanh", "gelu", "relu"))
    text["projection_size"] = vision["hidden_size"]
    return transformers.SiglipConfig(text_config=text, vision_config=vision)


def draw_texts(config: transformers.SiglipConfig, seed: int) -> dict[str, np.ndarray]:
    """Inputs whose texts reach the last place, which theirs pools whatever the mask says."""
    inputs = draw_inputs(config, seed, rows=4, tokens=11)
    inputs[names.TEXT_MASK][:, -1] = 1
    return inputs


def check(pair: Pair, inputs: dict[str, np.ndarray], bound: float) -> None:
    """Hold every output of both towers equal, their pools, what is compared, and the loss."""
    output, theirs = check_towers(pair, inputs, bound)
    valid = inputs[names.TEXT_MASK] > 0
    for ours, other, keep in (
        (output.text, theirs.text_model_output, valid),
        (output.image, theirs.vision_model_output, None),
    ):
        close(ours, other.last_hidden_state, bound, keep, "last hidden state")
    both = (theirs.text_model_output.pooler_output, theirs.vision_model_output.pooler_output)
    close(output.pooled, torch.cat(both, 1), bound, what="pooled")
    logits = output.logits[names.CONTRASTIVE]["logits"]
    loss = -jax.nn.log_sigmoid((2 * jnp.eye(len(logits)) - 1) * logits).sum(1).mean()
    close(loss, theirs.loss, bound, what="loss")


@pytest.mark.parametrize("seed", seeds(0, 1, 2, 3))
def test_towers_pools_and_loss(convert, seed):
    config = draw(seed)
    check(convert(transformers.SiglipModel, config, seed), draw_texts(config, seed), TINY)


def test_a_shorter_text_is_pooled_where_it_ends(convert):
    config = draw(5)
    pair, inputs = convert(transformers.SiglipModel, config, 5), draw_texts(config, 5)
    inputs[names.TEXT_MASK][:, 7:] = 0
    inputs[names.TEXT_MASK][:, 6] = 1
    cut = inputs | {name: inputs[name][:, :7] for name in (names.TEXT, names.TEXT_MASK)}
    theirs = pair.theirs(**their_inputs(pair, cut)).text_model_output
    close(pair.run(inputs).streams[pooled_of(TEXT)][:, 0], theirs.pooler_output, TINY)


def test_back_to_transformers(convert, there_and_back):
    config = draw(7)
    pair = there_and_back(convert(transformers.SiglipModel, config, 7))
    check_towers(pair, draw_texts(config, 7), TINY)
