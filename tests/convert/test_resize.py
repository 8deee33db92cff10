"""Models converted for images and texts of other sizes; what does not fit ends in one message, without a folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import vlfusion_jax
from tests.parity.conftest import randomise
from tests.parity.pixels import MEAN, STD
from vlfusion_jax.cli.main import main
from vlfusion_jax.data.tokenizer import train_tokenizer
from vlfusion_jax.train.converted import read_parameters

SIDE, PATCH, TOKENS = 32, 8, 12


def tower(vocab: int = 0) -> dict:
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    own = {"vocab_size": vocab, "max_position_embeddings": TOKENS, "bos_token_id": 0, "eos_token_id": 1}
    return size | (own if vocab else {"image_size": SIDE, "patch_size": PATCH})


def models(vocab: int) -> dict[str, transformers.PreTrainedModel]:
    clip = transformers.CLIPConfig(text_config=tower(vocab), vision_config=tower(), projection_dim=8)
    vilt = transformers.ViltConfig(
        **tower() | {"image_size": 16}, vocab_size=vocab, max_position_embeddings=TOKENS, num_labels=2
    )
    return {
        "clip": transformers.CLIPModel(clip),
        "vit": transformers.ViTModel(transformers.ViTConfig(**tower())),
        "vilt": transformers.ViltForQuestionAnswering(vilt),
        "resnet": transformers.ResNetModel(
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="bottleneck")
        ),
        "bert": transformers.BertModel(
            transformers.BertConfig(**tower(vocab) | {"type_vocab_size": 2, "bos_token_id": None, "eos_token_id": None})
        ),
    }


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    """A folder a family."""
    folder = tmp_path_factory.mktemp("hf")
    tokenizer = train_tokenizer(["what color is it", "is it red", "how many"], 60)
    for name, model in models(tokenizer.get_vocab_size()).items():
        randomise(model, 3)
        model.save_pretrained(folder / name)
        tokenizer.save(str(folder / name / "tokenizer.json"))
    return folder


@pytest.mark.parametrize(("family", "size"), [("vit", (48, 24)), ("clip", (24, 48)), ("clip", (40, 40))])
def test_image_positions_are_interpolated_as_theirs(originals, tmp_path, capsys, family, size):
    ours, asked = tmp_path / "ours", ",".join(str(side) for side in dict.fromkeys(size))
    assert main(["convert", "--from=hf", str(originals / family), f"--out={ours}", f"--image_size={asked}"]) == 0
    rows, columns = (side // PATCH for side in size)
    report = capsys.readouterr().out
    assert f"resized  image/grid/positions/table [16, 16] -> [{rows * columns}, 16]" in report
    assert "0 ignored, 0 parameters new" in report
    theirs = (transformers.ViTModel if family == "vit" else transformers.CLIPModel).from_pretrained(originals / family)
    vision = theirs if family == "vit" else theirs.vision_model
    tokens = torch.zeros(1, 1 + rows * columns, 16)
    table = vision.embeddings.interpolate_pos_encoding(tokens, *size)[0].detach().numpy()
    params = read_parameters(str(ours))[0]
    np.testing.assert_allclose(params["image/grid/positions/table"], table[1:], atol=1e-6, rtol=0)
    np.testing.assert_array_equal(params["image/cls_position"], table[0])

    loaded = vlfusion_jax.load(ours)
    picture = np.random.default_rng(0).integers(256, size=(*size, 3), dtype=np.uint8)
    inputs = loaded.encode([picture], ["what color"] if family == "clip" else None)
    output = loaded(inputs, capture=True)
    mean, std = ((0.5,) * 3,) * 2 if family == "vit" else (MEAN, STD)
    pixels = (picture / np.float32(255) - np.float32(mean)) / np.float32(std)
    with torch.no_grad():
        expected = vision(torch.tensor(pixels.transpose(2, 0, 1)[None]), interpolate_pos_encoding=True)
    pooled = output.pooled[:, -16:]  # of the image, behind the text's where there is one
    np.testing.assert_allclose(pooled, expected.pooler_output, atol=1e-5)


def test_text_positions_are_cut(originals, tmp_path, capsys):
    ours = tmp_path / "ours"
    arguments = ["--image_size=24", "--text_length=7"]
    assert main(["convert", "--from=hf", str(originals / "clip"), f"--out={ours}", *arguments]) == 0
    assert f"resized  text/embedding/positions/table [{TOKENS}, 16] -> [7, 16]" in capsys.readouterr().out
    before = transformers.CLIPModel.from_pretrained(originals / "clip").text_model.embeddings.position_embedding
    params, config, _ = read_parameters(str(ours))
    np.testing.assert_array_equal(params["text/embedding/positions/table"], before.weight.detach().numpy()[:7])
    assert config.data.question_length == 7
    loaded = vlfusion_jax.load(ours)
    assert loaded.encode(texts=["what color is it"], pictures=[np.zeros((24, 24, 3), np.uint8)])["text"].shape == (1, 7)


FAULTS = [
    ("vit", "--image_size=36", "--image_size=36,36: both sides must be multiples of 8"),
    ("vit", "--image_size=0", "must be multiples of 8"),
    ("vit", "--image_size=large", "--image_size=large: give height and width in pixels"),
    ("vit", "--text_length=8", "a vit has no position table of its text"),
    ("clip", "--text_length=13", "has room for 12 tokens, and is cut only"),
    ("clip", "--text_length=1", "Give 2 to 12"),
    ("vilt", "--image_size=32", "a vilt stretches one over each image as it is"),
    ("resnet", "--image_size=64", "a resnet has none"),
    ("bert", "--image_size=64", "a bert has none"),
]


@pytest.mark.parametrize(("family", "argument", "message"), FAULTS)
def test_faults(originals, tmp_path, capsys, family, argument, message):
    assert main(["convert", "--from=hf", str(originals / family), f"--out={tmp_path / 'ours'}", argument]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_processor_is_read_and_written(originals, tmp_path, capsys):
    source, ours, back = originals / "clip", tmp_path / "ours", tmp_path / "back"
    file = source / "preprocessor_config.json"
    asked = {"size": {"shortest_edge": 40}, "crop_size": SIDE, "image_mean": [0.1, 0.2, 0.3], "do_resize": None}
    try:
        file.write_text(json.dumps(asked | {"image_processor_type": "CLIPImageProcessor", "do_rescale": False}))
        assert main(["convert", "--from=hf", str(source), f"--out={ours}"]) == 0
    finally:
        file.unlink()
    report = capsys.readouterr().out
    assert "images: as preprocessor_config.json says: side_crop with the shorter side at 40 onto 32 x 32" in report
    assert "images: NOT as preprocessor_config.json says: do_rescale or rescale_factor: pixels are divided" in report
    assert main(["convert", "--to=hf", str(ours), f"--out={back}"]) == 0
    assert "images: preprocessor_config.json written" in capsys.readouterr().out
    processor = transformers.AutoImageProcessor.from_pretrained(back)
    picture = np.random.default_rng(0).integers(256, size=(50, 70, 3), dtype=np.uint8)
    loaded = vlfusion_jax.load(ours)
    pixels = loaded.encode([picture], ["it"])["image"][0] / np.float32(255)
    pixels = (pixels - np.float32(asked["image_mean"])) / np.float32(STD)
    theirs = processor(picture, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
    np.testing.assert_allclose(pixels, theirs, atol=1e-5, rtol=0)


def test_without_a_processor_the_report_says_so(originals, tmp_path, capsys):
    assert main(["convert", "--from=hf", str(originals / "vit"), f"--out={tmp_path / 'ours'}"]) == 0
    assert (
        "images: no preprocessor_config.json, so by the family's usual rule: stretch onto 32" in capsys.readouterr().out
    )
