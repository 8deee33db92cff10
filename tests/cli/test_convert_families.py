"""Models of several kinds through the command, read in Python, called once, and written back."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import transformers
from PIL import Image
from safetensors.numpy import load_file

import vlfusion_jax
from tests.parity.conftest import randomise
from vlfusion_jax.cli.main import main
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.tokenizer import train_tokenizer

TEXTS = ["what color is it", "is it red"]
PICTURE = np.random.default_rng(0).integers(256, size=(20, 30, 3), dtype=np.uint8)
WIDTHS = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
PIXELS, WORDS = {"pictures": [PICTURE]}, {"texts": TEXTS}
REGIONS = {"regions": np.ones((1, 3, 6), np.float32), "boxes": np.tile([0.0, 0.0, 0.5, 1.0], (1, 3, 1))}


class Case(NamedTuple):
    """A class of theirs in a small size, whether it reads text, what to call it with, and what comes out."""

    kind: str
    config: transformers.PreTrainedConfig
    arguments: dict
    heads: tuple[str, ...]
    reads_text: bool = True


def blip() -> transformers.BlipConfig:
    text = WIDTHS | {"vocab_size": 80, "max_position_embeddings": 24, "encoder_hidden_size": 16}
    return transformers.BlipConfig(text_config=text, vision_config=WIDTHS | {"image_size": 16, "patch_size": 8})


SMALL_VIT = transformers.ViTConfig(**WIDTHS, image_size=16, patch_size=8, num_labels=3)
SMALL_RESNET = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)
SMALL_BERT = transformers.BertConfig(**WIDTHS, vocab_size=80, max_position_embeddings=16)
SMALL_ROBERTA = transformers.RobertaConfig(**WIDTHS, vocab_size=80, max_position_embeddings=16)
SMALL_LXMERT = transformers.LxmertConfig(
    vocab_size=80, hidden_size=16, num_attention_heads=2, intermediate_size=24, max_position_embeddings=16, l_layers=1,
    r_layers=1, x_layers=1, visual_feat_dim=6, num_qa_labels=3, num_object_labels=4, num_attr_labels=2,
)  # fmt: skip
CASES = {
    "vit": Case("ViTForImageClassification", SMALL_VIT, PIXELS, (names.VQA,), reads_text=False),
    "resnet": Case("ResNetModel", SMALL_RESNET, PIXELS, (), reads_text=False),
    "bert": Case("BertForMaskedLM", SMALL_BERT, WORDS, ()),  # without `positions` no words are predicted
    "roberta": Case("RobertaModel", SMALL_ROBERTA, WORDS, ()),
    "lxmert": Case("LxmertForQuestionAnswering", SMALL_LXMERT, REGIONS | WORDS, (names.VQA,)),
    "blip": Case("BlipForConditionalGeneration", blip(), PIXELS | WORDS, (names.CAPTION,)),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Callable[[str], tuple[Path, Path]]:
    """Function: case -> what `transformers` saves and what the command makes of it; made when first asked for."""

    @cache
    def make(name: str) -> tuple[Path, Path]:
        theirs, case = tmp_path_factory.mktemp(name) / "theirs", CASES[name]
        model = getattr(transformers, case.kind)(case.config)
        randomise(model, 1)
        model.save_pretrained(theirs)
        if case.reads_text:
            train_tokenizer(TEXTS, 60).save(str(theirs / "tokenizer.json"))
        assert main(["convert", "--from=hf", str(theirs), f"--out={theirs.with_name('ours')}"]) == 0
        return theirs, theirs.with_name("ours")

    return make


@pytest.mark.parametrize("name", CASES)
def test_there_and_one_call(folders, name):
    case = CASES[name]
    _, ours = folders(name)
    model = vlfusion_jax.load(ours)
    output = model(model.encode(**case.arguments))
    assert tuple(output.logits) == case.heads
    for array in (*output.logits.values(), *(x for x in (output.text, output.image) if x is not None)):
        assert np.isfinite(np.asarray(array)).all()
    assert (ours / "tokenizer.json").is_file() == case.reads_text


@pytest.mark.parametrize("name", ["vit", "lxmert"])
def test_and_back(folders, tmp_path, name):
    theirs, ours = folders(name)
    assert main(["convert", "--to=hf", str(ours), f"--out={tmp_path / 'back'}"]) == 0
    before, after = load_file(theirs / "model.safetensors"), load_file(tmp_path / "back" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(tensor.tobytes() == after[key].tobytes() for key, tensor in before.items())
    getattr(transformers, CASES[name].kind).from_pretrained(tmp_path / "back")
    assert (tmp_path / "back" / "tokenizer.json").is_file() == CASES[name].reads_text


WRONG_INPUTS = {
    "pictures for regions": ("lxmert", PIXELS | WORDS, "reads the regions of a detector: give `regions` and `boxes`"),
    "no boxes": ("lxmert", WORDS | {"regions": REGIONS["regions"]}, "give both `regions` and `boxes`"),
    "features": ("lxmert", WORDS | REGIONS | {"regions": np.ones((1, 3, 5))}, r"expected \[images, regions, 6\]"),
    "regions for pictures": ("vit", REGIONS, "reads no regions of a detector"),
    "both": ("lxmert", REGIONS | PIXELS | WORDS, "not both"),
    "rows": ("lxmert", WORDS | {name: np.tile(x, (3, 1, 1)) for name, x in REGIONS.items()}, "2 texts do not divide"),
    "pictures for text": ("bert", PIXELS | WORDS, "reads no pictures"),
    "texts for pictures": ("vit", PIXELS | WORDS, "reads no texts"),
    "no texts": ("bert", {}, "give `texts`"),
    "no pictures": ("vit", {}, "give `pictures`"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG_INPUTS)
def test_what_a_model_does_not_read_is_refused(folders, what):
    name, arguments, message = WRONG_INPUTS[what]
    with pytest.raises(UserError, match=message):
        vlfusion_jax.load(folders(name)[1]).encode(**arguments)


def test_a_captioner_without_text_gives_its_image(folders):
    model = vlfusion_jax.load(folders("blip")[1])
    inputs = model.encode([PICTURE])
    output = model(inputs)
    assert not output.logits
    assert output.image.shape == (1, 5, 16)
    with pytest.raises(UserError, match="head 'caption' reads 'target', which is not among the inputs"):
        model(inputs, (names.CAPTION,))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lxmert", "reads the regions of a detector"),
        ("blip", "cannot answer questions: it has no head 'vqa'; it writes captions"),
        ("bert", "cannot answer questions: it has no head 'vqa'; its heads are mlm"),
    ],
)
def test_models_that_do_not_answer_about_pictures_say_so(folders, tmp_path, capsys, name, message):
    _, ours = folders(name)
    (tmp_path / "picture.png").write_bytes(b"never read")
    words = [f"--workdir={ours}", f"--image={tmp_path / 'picture.png'}"]
    assert main(["predict", *words, "--question=what"]) == 2
    assert message in capsys.readouterr().err


def test_a_captioner_asked_nothing_writes_a_caption(folders, tmp_path, capsys):
    ours, picture = folders("blip")[1], tmp_path / "picture.png"
    Image.fromarray(PICTURE).save(picture)
    words = [f"--workdir={ours}", f"--image={picture}"]
    assert main(["predict", *words]) == main(["predict", *words, "--json"]) == 0
    shown, told = capsys.readouterr().out.splitlines()[-2:]
    assert json.loads(told) == {"caption": shown}
    assert shown == vlfusion_jax.load(ours).caption(PICTURE)


def test_no_question_to_a_model_that_writes_no_captions(folders, capsys):
    assert main(["predict", f"--workdir={folders('vit')[1]}", "--image=never_read.png"]) == 2
    assert "writes no captions: it has no head 'caption'; it answers questions" in capsys.readouterr().err


def test_a_tokenizer_for_a_model_without_text_is_refused(folders, tmp_path, capsys):
    theirs, _ = folders("vit")
    words = ["--from=hf", str(theirs), f"--out={tmp_path / 'ours'}", "--tokenizer=any.json"]
    assert main(["convert", *words]) == 2
    assert "a vit reads no text: leave --tokenizer out" in capsys.readouterr().err


def fine_tune(converted: Path, own: Path, run: Path) -> int:
    """Exit code of two steps on pictures with questions."""
    (own / "images").mkdir(parents=True)
    lines = []
    for i, colour in enumerate(["red", "blue"] * 4):
        Image.new("RGB", (24, 16), colour).save(own / "images" / f"{i}.png")
        lines.append(json.dumps({"image": f"{i}.png", "question": "what color is it", "answer": colour}))
    for split in ("train", "test"):
        (own / f"{split}.jsonl").write_text("\n".join(lines))
    settings = {
        "data.path": own, "train.steps": 2, "train.batch_size": 8, "train.micro_batches": 1, "optim.warmup_steps": 1,
        "eval.batch_size": 8, "train.eval_every": 0,
    }  # fmt: skip
    changes = [f"--config.{key}={value}" for key, value in settings.items()]
    return main(["train", f"--config=configs/finetune.py:{converted}", f"--workdir={run}", *changes])


def test_an_image_tower_is_fine_tuned_and_regions_are_looked_for(folders, tmp_path, capsys):
    assert fine_tune(folders("vit")[1], tmp_path / "own", tmp_path / "run") == 0
    asked = PICTURE, "what color is it"
    assert {answer.text for answer in vlfusion_jax.load(tmp_path / "run").answer(*asked)} == {"blue", "red"}
    assert fine_tune(folders("lxmert")[1], tmp_path / "more", tmp_path / "none") == 2
    assert "file of regions '0.npz' is in no regions*.tar of" in capsys.readouterr().err
