"""From `transformers` and back by the command; what is wrong ends in one message and leaves no folder."""

import json
import os
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
import transformers
from safetensors.numpy import load_file, save_file

import vlfusion_jax
from tests.parity.conftest import randomise
from vlfusion_jax.cli.main import main
from vlfusion_jax.convert.source import open_checkpoint
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.tokenizer import train_tokenizer
from vlfusion_jax.train.converted import read_parameters

ANSWERS = ["red", "two", "no"]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A small ViLT that answers questions, as `transformers` saves it, with a tokenizer."""
    folder = tmp_path_factory.mktemp("hf") / "vilt"
    tokenizer = train_tokenizer(["what color is it", "is it red", "how many"], 60)
    config = transformers.ViltConfig(
        vocab_size=tokenizer.get_vocab_size() + 3, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, image_size=16, patch_size=8, max_position_embeddings=12,
        id2label=dict(enumerate(ANSWERS)), label2id={answer: i for i, answer in enumerate(ANSWERS)},
    )  # fmt: skip
    model = transformers.ViltForQuestionAnswering(config)
    randomise(model, 3)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def damaged(original, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(original, tmp_path / "damaged"))


def converted(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(["convert", *map(str, arguments)])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_there_and_back_again(original, tmp_path, capsys):
    ours, back = tmp_path / "ours", tmp_path / "back"
    code, out, _ = converted(capsys, "--from=hf", original, f"--out={ours}")
    assert code == 0
    assert (ours / "conversion.txt").read_text().strip() in out
    assert "keys used, 0 copies, 0 ignored, 0 parameters new" in out
    code, _, err = converted(capsys, "--to=hf", ours, f"--out={back}")
    assert code == 0, err
    before, after = load_file(original / "model.safetensors"), load_file(back / "model.safetensors")
    assert before.keys() == after.keys()
    for key, tensor in before.items():
        assert tensor.tobytes() == after[key].tobytes(), key
    again = transformers.ViltForQuestionAnswering.from_pretrained(back)
    assert list(again.config.id2label.values()) == ANSWERS
    assert transformers.AutoTokenizer.from_pretrained(back)("what color").input_ids[0] == 2


def test_a_converted_model_answers(original, tmp_path, capsys):
    from PIL import Image

    ours, picture = tmp_path / "ours", tmp_path / "picture.png"
    assert converted(capsys, "--from=hf", original, f"--out={ours}")[0] == 0
    pixels = np.random.default_rng(0).integers(256, size=(20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(picture)
    question = "what color is it"
    assert main(["predict", f"--workdir={ours}", f"--image={picture}", f"--question={question}", "--json"]) == 0
    answers = {each["text"]: each["probability"] for each in json.loads(capsys.readouterr().out.splitlines()[-1])}

    from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

    processor = ViltImageProcessorPil(size={"shortest_edge": 16}, size_divisor=8)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(original / "tokenizer.json"))
    model = transformers.ViltForQuestionAnswering.from_pretrained(original).eval()
    inputs = processor(pixels, return_tensors="pt") | tokenizer(question, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    expected = torch.sigmoid(model(**inputs).logits[0]).detach().numpy()
    np.testing.assert_allclose([answers[answer] for answer in ANSWERS], expected, atol=1e-5)

    loaded = vlfusion_jax.load(ours)
    assert loaded.heads == ("vqa",)
    assert {each.text: each.probability for each in loaded.answer(picture, question)} == pytest.approx(
        answers, abs=1e-6
    )
    output = loaded(loaded.encode([pixels], [question, "how many"]), capture=True)
    np.testing.assert_allclose(jax.nn.sigmoid(output.logits["vqa"])[0, :3], expected, atol=1e-5)
    assert output.attention["fusion"]["joint_self_0"].shape[:3] == (2, 2, 2)  # layers, texts, heads
    with pytest.raises(UserError, match="no head 'mlm'; it has vqa"):
        loaded(loaded.encode([pixels], [question]), ("mlm",))
    with pytest.raises(UserError, match="3 texts do not divide among 2 pictures"):
        loaded.encode([pixels, pixels], ["a", "b", "c"])


@pytest.mark.parametrize(("limit", "kept"), [(-1, 20 * 33), (100, 100)])
def test_all_patches_of_images_larger_than_the_model_says(damaged, tmp_path, capsys, limit, kept):
    """What `preprocessor_config.json` asks for may have more patches than the images of `config.json`'s size."""
    from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil

    processor = ViltImageProcessorPil(size={"shortest_edge": 160}, size_divisor=8)
    ours, back = tmp_path / "ours", tmp_path / "back"
    processor.save_pretrained(damaged)
    config = json.loads((damaged / "config.json").read_text()) | {"max_image_length": limit}
    (damaged / "config.json").write_text(json.dumps(config))
    assert converted(capsys, "--from=hf", damaged, f"--out={ours}")[0] == 0
    loaded = vlfusion_jax.load(ours)
    pixels = np.random.default_rng(0).integers(256, size=(160, 266, 3), dtype=np.uint8)
    output = loaded(loaded.encode([pixels], ["what color is it"]))
    assert output.image.shape[1] == 1 + kept
    if limit < 0:  # else theirs draws some
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(damaged / "tokenizer.json"))
        inputs = processor(pixels, return_tensors="pt") | tokenizer("what color is it", return_tensors="pt")
        inputs.pop("token_type_ids", None)
        expected = transformers.ViltForQuestionAnswering.from_pretrained(damaged).eval()(**inputs).logits[0]
        np.testing.assert_allclose(output.logits["vqa"][0, :3], expected.detach(), atol=1e-5)
    assert converted(capsys, "--to=hf", ours, f"--out={back}")[0] == 0
    assert json.loads((back / "config.json").read_text())["max_image_length"] == limit


def resave(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def put_code_in(folder: Path) -> None:
    """A pickle that would run something when it is loaded."""

    class Code:
        def __reduce__(self):
            return print, ("it ran",)

    (folder / "model.safetensors").unlink()
    torch.save({"weight": Code()}, folder / "pytorch_model.bin")


def rename_family(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "gpt2"}
    (folder / "config.json").write_text(json.dumps(config))


QUERY = "vilt.encoder.layer.1.attention.attention.query.weight"
FAULTS = {
    "missing key": (lambda f: resave(f, lambda t: t.pop(QUERY)), f"missing key {QUERY}"),
    "extra key": (lambda f: resave(f, lambda t: t.update(odd=np.zeros(3, np.float32))), "unexpected key odd"),
    "wrong shape": (
        lambda f: resave(f, lambda t: t.update({QUERY: np.zeros((16, 15), np.float32)})),
        f"{QUERY} has shape [16, 15], expected [16, 16]",
    ),
    "truncated": (truncate, "is no whole safetensors file"),
    "code": (put_code_in, "holds more, which could run as code"),
    "unknown family": (rename_family, "config.json names the model type 'gpt2'; these can be converted: vilt"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "holds no weights; expected one of model.safetensors"),
    "no tokenizer": (
        lambda f: (f / "tokenizer.json").unlink(),
        "with --tokenizer=FILE, the path of a tokenizer.json, a vocab.txt, or a vocab.json with its merges.txt beside",
    ),
    "config": (lambda f: (f / "config.json").write_text("{"), "config.json is no JSON object (Expecting"),
    "config's kind": (lambda f: (f / "config.json").write_text("[]"), "config.json is no JSON object; fetch it again"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults(damaged, tmp_path, capsys, fault):
    spoil, message = FAULTS[fault]
    spoil(damaged)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = converted(capsys, "--from=hf", damaged, f"--out={tmp_path / 'ours'}")
    assert code == 2
    assert err.startswith("vlfusion: ")
    assert message in err
    assert "Traceback" not in err
    assert "it ran" not in out + err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from=hf", "--family=lxmert"], "is a vilt, not a lxmert"),
        (["--from=onnx"], "convert takes --from=hf or --to=hf or --to=original"),
        (["--from=original"], "convert takes --from=hf or --to=hf or --to=original"),
        ([], "convert takes --from=hf or --to=hf or --to=original"),
        (["--to=original", "--architecture=ViltModel"], "--architecture cannot be given with --to=original, which doe"),
        (["--from=hf", "--architecture=ViltModel"], "with --from=hf, which does not read it: leave it out."),
        (["--from=hf", "--size=base"], "--size cannot be given as the config.json of"),
        (
            ["--to=hf", "--heads=vqa", "--answers=a.txt"],
            "--heads, --answers cannot be given with --to=hf, which reads none of these: leave them out.",
        ),
        (["--to=hf", "--image_size=32", "--text_length=8"], "--image_size, --text_length cannot be given with --to"),
        (
            ["--to=hf", "--family=vilt", "--size=base", "--tokenizer=t"],
            "--family, --size, --tokenizer cannot be given with --to",
        ),
    ],
)
def test_wrong_words(original, tmp_path, capsys, arguments, message):
    code, _, err = converted(capsys, *arguments, original, f"--out={tmp_path / 'ours'}")
    assert code == 2
    assert message in err
    assert not (tmp_path / "ours").exists()


def test_a_name_that_is_nowhere_and_a_folder_that_is_there(original, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    _, _, err = converted(capsys, "--from=hf", "someone/vilt", f"--out={tmp_path / 'ours'}")
    assert "no model of that name in" in err
    assert "hf download someone/vilt" in err
    model = tmp_path / "hub" / "models--someone--vilt"
    shutil.copytree(original, model / "snapshots" / "abc")
    assert converted(capsys, "--from=hf", "someone/vilt", f"--out={tmp_path / 'ours'}")[0] == 0
    _, _, err = converted(capsys, "--from=hf", "someone/vilt", f"--out={tmp_path / 'ours'}")
    assert "exists already" in err


def test_of_several_snapshots_that_of_the_main_branch_is_read(original, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    model = tmp_path / "models--someone--vilt"
    main, later, empty = (model / "snapshots" / name for name in ("main", "later", "empty"))
    shutil.copytree(original, main)
    shutil.copytree(original, later)
    empty.mkdir()  # as a download of a tokenizer alone leaves it
    for age, folder in enumerate((empty, later, main)):
        os.utime(folder, (1000 - age, 1000 - age))
    assert open_checkpoint("someone/vilt").folder == later
    (model / "refs").mkdir()
    for name, expected in (("main", main), ("later", later), ("empty", later)):
        (model / "refs" / "main").write_text(f"{name}\n")
        assert open_checkpoint("someone/vilt").folder == expected


def test_a_pickle_of_tensors_and_shards_are_read(original, tmp_path, capsys):
    tensors = load_file(original / "model.safetensors")
    pickled, old, sharded = (shutil.copytree(original, tmp_path / name) for name in ("pickled", "old", "sharded"))
    for folder in (pickled, old, sharded):
        (folder / "model.safetensors").unlink()
    torch.save({key: torch.tensor(value) for key, value in tensors.items()}, pickled / "pytorch_model.bin")
    trained = {key: torch.nn.Parameter(torch.tensor(value)) for key, value in tensors.items()}
    torch.save(trained, old / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    keys = sorted(tensors)
    places = {key: f"model-{1 + i % 2}.safetensors" for i, key in enumerate(keys)}
    for name in set(places.values()):
        save_file({key: tensors[key] for key in keys if places[key] == name}, sharded / name)
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    for folder in (pickled, old, sharded):
        code, _, err = converted(capsys, "--from=hf", folder, f"--out={folder}_ours")
        assert code == 0, err
        params, _, _ = read_parameters(f"{folder}_ours")
        np.testing.assert_array_equal(params["text_pooler/projection/bias"], tensors["vilt.pooler.dense.bias"])


def test_a_converted_model_is_fine_tuned_on_own_questions(original, tmp_path, capsys):
    from PIL import Image

    ours, own = tmp_path / "ours", tmp_path / "own"
    assert converted(capsys, "--from=hf", original, f"--out={ours}")[0] == 0
    (own / "images").mkdir(parents=True)
    lines = []
    for i, colour in enumerate(["red", "blue"] * 8):
        Image.new("RGB", (24, 16), colour).save(own / "images" / f"{i}.png")
        lines.append(json.dumps({"image": f"{i}.png", "question": "what color is it", "answer": colour}))
    for split in ("train", "test"):
        (own / f"{split}.jsonl").write_text("\n".join(lines))
    settings = {
        "data.path": own, "train.steps": 30, "train.batch_size": 8, "train.micro_batches": 1, "optim.warmup_steps": 2,
        "optim.lr": 3e-3, "eval.batch_size": 8, "train.eval_every": 0,
    }  # fmt: skip
    changes = [f"--config.{key}={value}" for key, value in settings.items()]
    run = tmp_path / "run"
    assert main(["train", f"--config=configs/finetune.py:{ours}", f"--workdir={run}", *changes]) == 0
    shown = capsys.readouterr()
    assert f"starting from the parameters of {ours}" in shown.err
    question = "--question=what color is it"
    assert main(["predict", f"--workdir={run}", f"--image={own / 'images' / '1.png'}", question, "--json"]) == 0
    best = json.loads(capsys.readouterr().out.splitlines()[-1])[0]
    assert best["text"] == "blue"

    exported = tmp_path / "exported"
    assert converted(capsys, "--to=hf", run, f"--out={exported}")[0] == 0
    again = transformers.ViltForQuestionAnswering.from_pretrained(exported)
    assert sorted(again.config.id2label.values()) == ["blue", "red"]
    assert isinstance(transformers.AutoModel.from_pretrained(exported), transformers.ViltModel)
