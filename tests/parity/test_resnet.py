"""ResNet against `transformers`: every stage, on images of any shape."""

import json

import jax
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

from tests.parity.conftest import TINY, Pair, close, seeds
from vlfusion_jax.convert.hugging_face import export_model
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import nested
from vlfusion_jax.layers.convnet import IMAGENET, ResNet

MEAN, STD = (np.array(IMAGENET[key], np.float32) for key in ("mean", "std"))


def draw(seed: int, **more) -> transformers.ResNetConfig:
    rng = np.random.default_rng(seed)
    stages = int(rng.integers(2, 5))
    return transformers.ResNetConfig(
        embedding_size=int(rng.integers(4, 12)), depths=rng.integers(1, 4, stages).tolist(),
        hidden_sizes=(4 * rng.integers(2, 9, stages)).tolist(), **more,
    )  # fmt: skip


def draw_inputs(seed: int, least: int = 33, most: int = 79) -> tuple[dict[str, np.ndarray], torch.Tensor]:
    """Images with sides of so many pixels."""
    rng = np.random.default_rng(seed)
    image = rng.random((3, *rng.integers(least, most + 1, 2), 3), np.float32)
    pixels = torch.tensor(((image - MEAN) / STD).transpose(0, 3, 1, 2))
    return {names.IMAGE: image, names.IMAGE_MASK: np.ones(image.shape[:3], np.uint8)}, pixels


def check_stages(pair: Pair, inputs: dict[str, np.ndarray], pixels: torch.Tensor, bound: float) -> None:
    theirs = pair.theirs(pixels, output_hidden_states=True)
    tower = ResNet(pair.ours.model.depths, pair.ours.model.channels)
    params = nested(pair.ours.params)["image"]["grid_tokens"]["resnet"]
    maps = jax.jit(tower.apply)({"params": params}, pixels.permute(0, 2, 3, 1).numpy(), inputs[names.IMAGE_MASK])
    for i, ((ours, _), other) in enumerate(zip(maps, theirs.hidden_states, strict=True)):
        close(np.asarray(ours).transpose(0, 3, 1, 2), other, bound, what=f"stage {i}")
    output = pair.run(inputs)
    close(output.image, theirs.last_hidden_state.flatten(2).mT, bound, what="tokens")
    close(output.pooled, theirs.pooler_output[:, :, 0, 0], bound, what="pooled")


@pytest.mark.parametrize("seed", seeds(0, 1, 2))
def test_every_stage(convert, seed):
    check_stages(convert(transformers.ResNetModel, draw(seed), seed), *draw_inputs(seed), TINY)


def test_classes(convert):
    pair = convert(transformers.ResNetForImageClassification, draw(7, num_labels=9), 7)
    inputs, pixels = draw_inputs(7)
    close(pair.run(inputs).logits[names.VQA][:, :9], pair.theirs(pixels).logits, TINY)


def test_there_and_back(convert, tmp_path):
    pair = convert(transformers.ResNetForImageClassification, draw(8, num_labels=5), 8)
    ours, folder = pair.ours, tmp_path / "back"
    tensors, config = export_model(ours.family, ours.model, ours.sizes, ours.architecture, ours.params, ours.answers)
    before = load_file(pair.folder / "model.safetensors")
    counts = {key for key in before if key.endswith("num_batches_tracked")}
    assert tensors.keys() == before.keys() - counts
    assert all(tensor.tobytes() == before[key].tobytes() for key, tensor in tensors.items())
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    again = transformers.ResNetForImageClassification.from_pretrained(folder).eval()
    _, pixels = draw_inputs(8)
    torch.testing.assert_close(again(pixels).logits, pair.theirs(pixels).logits, atol=0, rtol=0)


def test_other_kinds_are_refused(convert):
    with pytest.raises(UserError, match="layer_type='basic'; only 'bottleneck' is known here"):
        convert(transformers.ResNetModel, draw(1, layer_type="basic"))
