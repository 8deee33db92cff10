"""CLIP against `transformers`: both towers, what is compared and the loss, for configurations drawn from a seed."""

import jax.numpy as jnp
import numpy as np
import pytest
import transformers

from tests.parity.conftest import TINY, Pair, close, seeds
from tests.parity.dual import check_towers, draw_inputs, draw_sections
from vlfusion_jax.core import names
from vlfusion_jax.ops.losses import cross_entropy


def draw(seed: int) -> transformers.CLIPConfig:
    text, vision = draw_sections(seed, ("quick_gelu", "gelu", "gelu_new"))
    return transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=21 + seed)


def draw_texts(config: transformers.CLIPConfig, seed: int) -> dict[str, np.ndarray]:
    """Inputs whose texts end, each at its own place, in the end-of-text token, padding with the same token behind."""
    inputs = draw_inputs(config, seed, rows=4, tokens=11)
    ends = np.random.default_rng(seed).integers(1, 11, 4)
    for text, mask, end in zip(inputs[names.TEXT], inputs[names.TEXT_MASK], ends, strict=True):
        text[end:] = config.text_config.eos_token_id
        mask[end], mask[end + 1 :] = 1, 0
    return inputs


def check(pair: Pair, inputs: dict[str, np.ndarray], bound: float) -> None:
    """Hold every output of both towers equal, what is compared, and the loss."""
    output, theirs = check_towers(pair, inputs, bound)
    valid = inputs[names.TEXT_MASK] > 0
    close(output.text, theirs.text_model_output.last_hidden_state, bound, valid, "text")
    normed = pair.theirs.vision_model.post_layernorm(theirs.vision_model_output.last_hidden_state)
    close(output.image, normed, bound, what="image")
    logits = output.logits[names.CONTRASTIVE]["logits"]
    pairs = jnp.arange(len(logits))
    loss = (cross_entropy(logits, pairs) + cross_entropy(logits.T, pairs)).mean() / 2
    close(loss, theirs.loss, bound, what="loss")


@pytest.mark.parametrize("seed", seeds(0, 1, 2, 3))
def test_towers_vectors_and_loss(convert, seed):
    config = draw(seed)
    check(convert(transformers.CLIPModel, config, seed), draw_texts(config, seed), TINY)


def test_back_to_transformers(convert, there_and_back):
    config = draw(7)
    pair = there_and_back(convert(transformers.CLIPModel, config, 7))
    check_towers(pair, draw_texts(config, 7), TINY)
