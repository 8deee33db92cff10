"""Heads that a checkpoint has, has not, or shall lose, and the names of its answers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import transformers
from safetensors.numpy import load_file, save_file

import vlfusion_jax
from tests.parity.conftest import randomise
from vlfusion_jax.cli.main import main
from vlfusion_jax.config.schema import default_config
from vlfusion_jax.convert.answers import read_answers, write_answers
from vlfusion_jax.convert.original import export_original, read_back
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.tokenizer import train_tokenizer
from vlfusion_jax.models.families import meter
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters, model_spec
from vlfusion_jax.models.parameters import fresh_params, param_shapes
from vlfusion_jax.train.converted import REPORT, read_parameters

TEXTS = ["what color is it", "is it red"]
SMALL = {
    "vocab_size": 80, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
    "image_size": 16, "patch_size": 8, "max_position_embeddings": 12,
}  # fmt: skip
PICTURE = np.random.default_rng(0).integers(256, size=(20, 30, 3), dtype=np.uint8)


def save(kind: str, folder: Path, **settings) -> Path:
    model = getattr(transformers, kind)(transformers.ViltConfig(**SMALL, **settings))
    randomise(model, 2)
    model.save_pretrained(folder)
    train_tokenizer(TEXTS, 60).save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> Path:
    """A model that predicts words."""
    return save("ViltForMaskedLM", tmp_path_factory.mktemp("words") / "vilt")


@pytest.fixture(scope="module")
def unnamed(tmp_path_factory) -> Path:
    """A model with three answers that are numbered alone."""
    return save("ViltForQuestionAnswering", tmp_path_factory.mktemp("answers") / "vilt", num_labels=3)


@pytest.fixture
def answers(tmp_path):
    """Function: bytes -> the flag that names a file of them."""

    def make(content: bytes) -> str:
        (tmp_path / "answers.txt").write_bytes(content)
        return f"--answers={tmp_path / 'answers.txt'}"

    return make


def convert(source: Path, out: Path, *flags: str) -> int:
    return main(["convert", "--from=hf", str(source), f"--out={out}", *flags])


def refused(capsys, source: Path, out: Path, *flags: str) -> str:
    """The message."""
    before = sorted(out.parent.rglob("*"))
    assert convert(source, out, *flags) == 2
    assert sorted(out.parent.rglob("*")) == before
    message = capsys.readouterr().err
    assert message.startswith("vlfusion: ")
    return message


def reported(folder: Path, what: str) -> set[str]:
    lines = (folder / REPORT).read_text().splitlines()
    return {line.removeprefix(what).strip() for line in lines if line.startswith(f"{what} ")}


def test_a_fresh_head_beside_the_own(words, tmp_path, answers):
    ours, again = tmp_path / "ours", tmp_path / "again"
    named = answers("rot\r\ngrün\r\n".encode())
    assert convert(words, ours, "--heads=vqa,mlm", named) == 0
    params, config, vocabulary = read_parameters(str(ours))
    new = {path for path in params if path.startswith("head_vqa/")}
    assert reported(ours, "new") == new
    assert {"head_vqa/classes/kernel", "head_vqa/norm/scale"} <= new
    assert vocabulary.answers == ("rot", "grün")
    assert (config.tasks.vqa.weight, config.tasks.mlm.weight) == (1, 1)
    tensor = load_file(words / "model.safetensors")["mlm_score.transform.dense.weight"]
    np.testing.assert_array_equal(params["head_mlm/transform/kernel"], tensor.T)

    assert params["head_vqa/expand/kernel"].std() > 0
    assert (params["head_vqa/norm/scale"] == 1).all()
    assert convert(words, again, "--heads=vqa,mlm", named) == 0
    same, _, _ = read_parameters(str(again))
    assert all(np.array_equal(x, same[path]) for path, x in params.items())

    model = vlfusion_jax.load(ours)
    assert model.heads == ("mlm", "vqa")
    assert {answer.text for answer in model.answer(PICTURE, TEXTS[0])} == {"rot", "grün"}


def test_a_fresh_head_is_that_of_a_new_run(words, tmp_path, answers):
    """The parameters are those that training with the same seed starts a model of its own with."""
    assert convert(words, tmp_path / "ours", "--heads=vqa", answers(b"a\nb")) == 0
    params, config, vocabulary = read_parameters(str(tmp_path / "ours"))
    paths = [path for path in params if path.startswith("head_vqa/")]
    spec = model_spec(config, vocabulary.size, 2)
    for path, leaf in fresh_params(spec, ("vqa",), paths, default_config().seed).items():
        np.testing.assert_array_equal(params[path], leaf)


def test_heads_not_named_are_left_out(words, tmp_path):
    ours = tmp_path / "ours"
    assert convert(words, ours, "--heads=itm") == 0
    params, _, _ = read_parameters(str(ours))
    assert {path.split("/")[0] for path in params if path.startswith("head_")} == {"head_itm"}
    assert reported(ours, "new") == {"head_itm/classes/kernel", "head_itm/classes/bias"}
    tensors = load_file(words / "model.safetensors")
    left = {f"{key}: head 'mlm' is left out" for key in tensors if key.startswith("mlm_score.")}
    assert left == reported(ours, "ignored")
    assert vlfusion_jax.load(ours).heads == ("itm",)


def test_a_head_of_another_class_that_the_checkpoint_has_is_read(words, tmp_path):
    more = tmp_path / "more"
    shutil.copytree(words, more)
    rank = np.arange(16, dtype=np.float32)[None]
    tensors = load_file(more / "model.safetensors") | {"rank_output.weight": rank, "rank_output.bias": rank[0, :1]}
    save_file(tensors, more / "model.safetensors", metadata={"format": "pt"})
    assert convert(more, tmp_path / "ours", "--heads=retrieval,mlm") == 0
    params, _, _ = read_parameters(str(tmp_path / "ours"))
    np.testing.assert_array_equal(params["head_retrieval/classes/kernel"], rank.T)
    assert not reported(tmp_path / "ours", "new")


def test_heads_that_there_are_not(words, tmp_path, capsys, answers):
    out = tmp_path / "ours"
    message = refused(capsys, words, out, "--heads=mlm,vqaa")
    assert "no head 'vqaa'; it has itm, mlm, nlvr, retrieval, vqa" in message
    assert "name the answers of the new one by --answers=FILE" in refused(capsys, words, out, "--heads=vqa")
    assert "ask for it by --heads" in refused(capsys, words, out, answers(b"red\n"))


def test_names_for_numbered_answers(unnamed, tmp_path, answers):
    ours, back = tmp_path / "ours", tmp_path / "back"
    assert convert(unnamed, ours, answers(b"\xef\xbb\xbfred\ntwo\nno")) == 0
    assert read_parameters(str(ours))[2].answers == ("red", "two", "no")
    assert not reported(ours, "new")
    assert main(["convert", "--to=hf", str(ours), f"--out={back}"]) == 0
    assert transformers.ViltConfig.from_pretrained(back).id2label == {0: "red", 1: "two", 2: "no"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"red\ntwo\n", "--answers has 2 answers, the head of"),
        (b"red\ntwo\nno\nyes\n", "--answers has 4 answers, the head of"),
        (b"red\ntwo\nred\n", "line 3 repeats 'red' of line 1"),
        (b"red\n\nno\n", "line 2 is empty"),
        (b"red\ntwo\nno\n\n", "line 4 is empty"),
        (b"", "line 1 is empty"),
        (b"red\ntw\xff\nno\n", "is not UTF-8"),
    ],
)
def test_wrong_lists_of_answers(unnamed, tmp_path, capsys, answers, content, message):
    flag = answers(content)
    assert message in refused(capsys, unnamed, tmp_path / "ours", flag)


def test_a_list_that_is_not_there_and_answers_that_have_names(unnamed, tmp_path, capsys, answers):
    assert "is not a file" in refused(capsys, unnamed, tmp_path / "ours", f"--answers={tmp_path / 'none'}")
    named = tmp_path / "named"
    shutil.copytree(unnamed, named)
    config = json.loads((named / "config.json").read_text()) | {"id2label": {"0": "red", "1": "two", "2": "no"}}
    (named / "config.json").write_text(json.dumps(config))
    flag = answers(b"no\ntwo\nred\n")
    assert "names its answers itself" in refused(capsys, named, tmp_path / "ours", flag)
    assert convert(named, tmp_path / "ours", answers(b"red\ntwo\nno\n")) == 0


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """METER's tensors with heads for words and for three answers, as its authors store them, and a tokenizer."""
    model, sizes, heads = hyperparameters("meter", "tiny"), Given(80, 3, 12, (32, 32)), ("mlm", "vqa")
    shapes = param_shapes(meter.spec(model, sizes), heads)
    numbers = np.random.default_rng(0)
    params = {path: numbers.standard_normal(shape, np.float32) for path, shape in shapes.items()}
    folder = tmp_path_factory.mktemp("meter")
    save_file(export_original("meter", model, sizes, heads, params), folder / "meter.safetensors")
    train_tokenizer(TEXTS, 60).save(str(folder / "tokenizer.json"))
    return folder / "meter.safetensors"


def test_a_checkpoint_without_configuration(original, tmp_path, capsys, answers):
    kind = ("--family=meter", "--size=tiny")
    assert convert(original, tmp_path / "numbered", *kind) == 0
    model = vlfusion_jax.load(tmp_path / "numbered")
    assert {answer.text for answer in model.answer(PICTURE, TEXTS[0])} == {"LABEL_0", "LABEL_1", "LABEL_2"}

    named = answers(b"red\ntwo\nno\n")
    assert convert(original, tmp_path / "named", *kind, named, "--heads=itm,vqa") == 0
    model = vlfusion_jax.load(tmp_path / "named")
    assert {answer.text for answer in model.answer(PICTURE, TEXTS[0])} == {"red", "two", "no"}
    assert model.heads == ("itm", "vqa")
    assert reported(tmp_path / "named", "new") == {"head_itm/classes/kernel", "head_itm/classes/bias"}
    assert all("head 'mlm' is left out" in line for line in reported(tmp_path / "named", "ignored"))
    assert "has 2 answers" in refused(capsys, original, tmp_path / "no", *kind, answers(b"red\ntwo"))
    assert "no head 'odd'" in refused(capsys, original, tmp_path / "no", *kind, "--heads=odd")


def test_back_to_the_keys_of_the_authors(original, tmp_path, capsys, answers):
    kind, named = ("--family=meter", "--size=tiny"), answers("rot\nzwei\ngrün\n".encode())
    assert convert(original, tmp_path / "ours", *kind, named) == 0
    assert main(["convert", "--to=original", str(tmp_path / "ours"), f"--out={tmp_path / 'back'}"]) == 0
    assert "no config.json: read it by --family=meter --size=tiny\n" in (tmp_path / "back" / REPORT).read_text()
    before, after = load_file(original), load_file(tmp_path / "back" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(tensor.tobytes() == after[key].tobytes() for key, tensor in before.items())

    written = f"--answers={tmp_path / 'back' / 'answers.txt'}"
    assert convert(tmp_path / "back", tmp_path / "again", *kind, written) == 0
    (params, config, vocabulary), again = (read_parameters(str(tmp_path / name)) for name in ("ours", "again"))
    assert all(np.array_equal(x, again[0][path]) for path, x in params.items())
    assert (config.model, config.data) == (again[1].model, again[1].data)
    assert vocabulary.answers == again[2].answers == ("rot", "zwei", "grün")

    words = ["convert", "--to=original", str(tmp_path / "ours"), f"--out={tmp_path / 'words'}"]
    assert main([*words, "--heads=mlm"]) == 0
    assert reported(tmp_path / "words", "left out") == {"head_vqa/"}
    assert not any("vqa" in key for key in load_file(tmp_path / "words" / "model.safetensors"))
    assert main([*words[:3], f"--out={tmp_path / 'no'}", "--heads=itm"]) == 2
    assert "has no head 'itm'; it has mlm, vqa" in capsys.readouterr().err


def test_answers_that_a_file_of_lines_brings_back(tmp_path):
    file, named = tmp_path / "answers.txt", ("rot", "zwei Hunde", "grün\u2028gelb")
    write_answers(file, named)
    assert read_answers(str(file)) == named


@pytest.mark.parametrize("odd", ["a\nb", "a\rb", " a", "a\t", "", "red"])
def test_answers_that_it_would_not_bring_back_are_refused(tmp_path, odd):
    with pytest.raises(UserError, match=r"answer 2, .* cannot stand in answers.txt.* leave head 'vqa' out by --heads"):
        write_answers(tmp_path / "answers.txt", ("red", odd))
    with pytest.raises(UserError, match="there are no answers for answers"):
        write_answers(tmp_path / "answers.txt", ())
    assert not any(tmp_path.iterdir())


def test_a_family_whose_authors_have_no_keys_of_their_own_here(words, tmp_path, capsys, monkeypatch):
    assert convert(words, tmp_path / "ours") == 0
    monkeypatch.delattr("vlfusion_jax.cli.convert.read_parameters")  # it is refused before
    assert main(["convert", "--to=original", str(tmp_path / "ours"), f"--out={tmp_path / 'no'}"]) == 2
    message = capsys.readouterr().err
    assert "family 'vilt' has no checkpoints without config.json that could be converted; these have: uniter" in message
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("family", "head", "size", "hidden", "message"),
    [
        ("meter", "vqa", (32, 32), 48, "head_vqa/expand/kernel: [64, 48] here, [64, 64] there"),
        ("meter", "itm", (32, 64), 0, "image/grid/positions/table: ["),
        (
            "uniter",
            "itm",
            (32, 32),
            0,
            "a checkpoint of the authors of uniter reads a detector's regions, this model",
        ),
        ("vilbert", "itm", (32, 32), 0, "train it with model.region_patch=0"),
        ("albef", "vqa", (32, 32), 0, "a checkpoint of 'albef' has no head 'vqa'; it may have contrastive, itm, mlm"),
    ],
)
def test_what_a_checkpoint_of_the_authors_cannot_say(family, head, size, hidden, message):
    model, sizes = hyperparameters(family, "tiny"), Given(80, 3, 12, size, hidden)
    shapes = param_shapes(FAMILIES[family].spec(model, sizes), (head,))
    with pytest.raises(UserError) as error:
        export_original(family, model, sizes, (head,), {path: np.zeros(shape) for path, shape in shapes.items()})
    assert message in str(error.value)


def test_how_a_checkpoint_without_configuration_is_read():
    assert read_back(hyperparameters("uniter", "large")) == "no config.json: read it by --family=uniter --size=large"
    assert "changes=…) takes: layers=7" in read_back(hyperparameters("uniter", "base", layers=7))
    pixels = {"pixel_mean": (0.5, 0.25, 0.5), "pixel_std": (0.5, 0.5, 0.25)}
    assert read_back(hyperparameters("meter", "base", **pixels)).endswith("--family=meter --size=base")
