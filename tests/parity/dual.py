"""What the tests of dual encoders share: inputs, and a comparison of both towers and of what is made of them."""

from typing import Any

import numpy as np
import torch

from tests.parity.conftest import Pair, close
from vlfusion_jax.core import names
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.models.spec.streams import pooled_of


def draw_sections(seed: int, activations: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Text and vision sections of a small configuration that is the default in nothing.

    The end-of-text token is the last of the vocabulary.
    """
    rng = np.random.default_rng(seed)

    def tower() -> dict[str, Any]:
        heads = int(rng.integers(2, 5))
        return {
            "hidden_size": heads * int(rng.choice([4, 8])), "num_attention_heads": heads,
            "num_hidden_layers": int(rng.integers(1, 4)), "intermediate_size": int(rng.integers(17, 50)),
            "hidden_act": str(rng.choice(activations)), "layer_norm_eps": float(10.0 ** -rng.integers(4, 8)),
        }  # fmt: skip

    vocab, patch = int(rng.integers(90, 140)), int(rng.choice([4, 6]))
    text = tower() | {
        "vocab_size": vocab, "max_position_embeddings": int(rng.integers(13, 20)), "bos_token_id": vocab - 2,
        "eos_token_id": vocab - 1,
    }  # fmt: skip
    return text, tower() | {"patch_size": patch, "image_size": patch * int(rng.integers(2, 5))}


def draw_inputs(config: Any, seed: int, rows: int, tokens: int) -> dict[str, np.ndarray]:
    """Texts of words with holes in their masks, the first place aside, and square images."""
    rng = np.random.default_rng(seed)
    text, side = config.text_config, config.vision_config.image_size
    ids = rng.integers(0, text.vocab_size - 2, (rows, tokens)).astype(np.int32)
    mask = (rng.random((rows, tokens)) < 0.7).astype(np.int32)
    mask[:, 0] = 1
    return {
        names.TEXT: ids,
        names.TEXT_MASK: mask,
        names.IMAGE: rng.random((rows, side, side, 3), np.float32),
        names.IMAGE_MASK: np.ones((rows, side, side), np.uint8),
    }


def their_inputs(pair: Pair, inputs: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The same for `transformers`: normalised, channels first."""
    mean, std = (np.array(pair.ours.model[name], np.float32) for name in ("pixel_mean", "pixel_std"))
    pixels = ((inputs[names.IMAGE] - mean) / std).transpose(0, 3, 1, 2)
    return {
        "input_ids": torch.tensor(inputs[names.TEXT]).long(),
        "attention_mask": torch.tensor(inputs[names.TEXT_MASK]).long(),
        "pixel_values": torch.tensor(pixels),
    }


def check_towers(pair: Pair, inputs: dict[str, np.ndarray], bound: float) -> tuple[FusionOutput, Any]:
    """Hold hidden states, attention maps, unit vectors and logits equal; returns both outputs."""
    output = pair.run(inputs)
    pair.theirs.set_attn_implementation("eager")  # other implementations return no attention maps
    theirs = pair.theirs(
        **their_inputs(pair, inputs), output_hidden_states=True, output_attentions=True, return_loss=True
    )
    masks = {"text": inputs[names.TEXT_MASK] > 0, "image": np.asarray(output.image_mask) > 0}
    towers = {"text": theirs.text_model_output, "image": theirs.vision_model_output}
    for name, tower in towers.items():
        stage, keep = f"{name}_layers", masks[name]
        hidden = [output.embedded[name], *output.hidden[stage][name]]
        for i, (ours, other) in enumerate(zip(hidden, tower.hidden_states, strict=True)):
            close(ours, other, bound, keep, f"{name} hidden state {i}")
        maps = output.attention[stage][f"{name}_self_0"]
        for i, (ours, other) in enumerate(zip(maps, tower.attentions, strict=True)):
            close(ours, other, bound, np.broadcast_to(keep[:, None, :, None], other.shape), f"{name} attention {i}")
    contrast = output.logits[names.CONTRASTIVE]
    close(contrast["text"], theirs.text_embeds, bound, what="text vectors")
    close(contrast["image"], theirs.image_embeds, bound, what="image vectors")
    close(contrast["logits"], theirs.logits_per_text, bound, what="logits")
    close(contrast["logits"].T, theirs.logits_per_image, bound, what="logits")
    pooled = [output.streams[pooled_of(name)][:, 0] for name in towers]
    np.testing.assert_array_equal(np.concatenate(pooled, axis=1), output.pooled)
    return output, theirs
