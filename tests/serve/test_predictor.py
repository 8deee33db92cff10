import io

import jax
import numpy as np
import pytest
from PIL import Image

import vlfusion_jax
from vlfusion_jax.config.dump import dump_plain
from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.records import EncodedImage, Question, Record, count_answers
from vlfusion_jax.data.vocabulary import build_vocabulary
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.serve.predictor import Predictor, answer_some
from vlfusion_jax.train.checkpoint import Checkpointer
from vlfusion_jax.train.meta import describe
from vlfusion_jax.train.setup import build

ANSWERS = ("red", "green", "blue")
TEXTS = ("what colour is this", "which colour", "is it round")


class Pictures(list):
    """A source held in memory."""

    images_per_record = 1
    labelled = False

    def texts(self):
        return iter(TEXTS)

    def text_of(self, index):
        return self[index].captions, self[index].questions

    def answer_counts(self):
        return count_answers(self)


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def source():
    def record(i):
        questions = tuple(Question(text, ((ANSWERS[i % 3], 1.0),)) for text in TEXTS) if i != 2 else ()
        return Record((EncodedImage(png(picture(i)), f"{i}.png"),), (), questions)

    return Pictures(record(i) for i in range(7))


def config_with(loss="ce", **changes):
    config = default_config()
    config.model = hyperparameters("single_stream")
    values = {
        "data.image_size": (30, 30), "data.question_length": 8, "model.width": 16, "model.heads": 2,
        "model.mlp_width": 16, "model.layers": 1, "tasks.vqa.loss": loss, "train.batch_size": 8, "eval.batch_size": 8,
    }  # fmt: skip
    config.update_from_flattened_dict(values | changes)
    return config


@pytest.fixture(scope="module", params=["ce", "bce"])
def trained(request, source, tmp_path_factory):
    """A run on eight devices with its first checkpoint, and the parameters."""
    config = config_with(request.param)
    run = build(config, build_vocabulary([source], config.data))
    state, workdir = run.init_state(), tmp_path_factory.mktemp("run")
    # Heads start near zero; larger answer weights make the answers differ.
    params = jax.tree.map(lambda x: x * 5, state.params)
    checkpoints = Checkpointer(workdir, config.checkpoint)
    checkpoints.save(0, state.replace(params=params), describe(run, 0.0))
    checkpoints.close()
    return run, params, workdir


def expected(run, params, pixels, question):
    """Probabilities by answer, from the model itself."""
    image, mask = np.zeros((1, 30, 30, 3), np.uint8), np.zeros((1, 30, 30), np.uint8)
    image[0, :20], mask[0, :20] = pixels, 1
    ids, text_mask = run.vocabulary.encode(question, 8)
    inputs = {names.IMAGE: image, names.IMAGE_MASK: mask, names.TEXT: ids[None], names.TEXT_MASK: text_mask[None]}
    logits = run.model.apply({"params": jax.device_get(params)}, inputs, (names.VQA,)).logits[names.VQA]
    logits = np.asarray(logits)[0, :3].astype(np.float64)
    odds = np.exp(logits)
    shares = odds / odds.sum() if run.config.tasks.vqa.loss == "ce" else odds / (1 + odds)
    return dict(zip(run.vocabulary.answers, shares, strict=True))


def test_a_loaded_run_gives_the_models_probabilities(trained, tmp_path):
    run, params, workdir = trained
    model = vlfusion_jax.load(workdir)
    Image.fromarray(picture(0)).save(tmp_path / "picture.png")
    answers = model.answer(tmp_path / "picture.png", "which colour")
    assert answers == model.answer(picture(0), "which colour")
    assert [a.probability for a in answers] == sorted((a.probability for a in answers), reverse=True)
    assert dict(answers) == pytest.approx(expected(run, params, picture(0), "which colour"), rel=1e-4)
    assert model.answer(picture(0), "which colour", top=1) == answers[:1]


def test_heads_that_are_left_over_are_not_read(source, tmp_path):
    """A converted model may have heads that no task of its config trains."""
    config = config_with(**{"tasks.itm.weight": 1.0, "data.caption_length": 8})
    run = build(config, build_vocabulary([source], config.data))
    state, said = run.init_state(), describe(run, 0.0)
    said["config"] = dump_plain(config_with())
    checkpoints = Checkpointer(tmp_path, config.checkpoint)
    checkpoints.save(0, state, said)
    checkpoints.close()
    answers = vlfusion_jax.load(tmp_path).answer(picture(0), "which colour")
    assert dict(answers) == pytest.approx(expected(run, state.params, picture(0), "which colour"), rel=1e-4)


def test_the_training_mesh_answers_alike(trained, source):
    run, params, _ = trained
    shown = answer_some(Predictor(run, params), source, 4)
    assert len(shown) == 4
    assert len({item.image.tobytes() for item in shown}) == 4
    for item in shown:
        number = next(i for i in range(7) if np.array_equal(picture(i), item.image))
        assert item.truth == ANSWERS[number % 3]
        assert item.question in TEXTS
        shares = expected(run, params, item.image, item.question)
        assert item.answer == max(shares, key=shares.get)
        assert item.probability == pytest.approx(shares[item.answer], rel=1e-4)
        assert item.correct == (item.answer == item.truth)


def test_a_model_of_text_alone_answers_from_the_questions(source):
    config = config_with()
    config.model = hyperparameters("bert", "tiny")
    run = build(config, build_vocabulary([source], config.data))
    params = jax.tree.map(lambda x: x * 5, run.init_state().params)
    shown = answer_some(Predictor(run, params), source, 6)
    assert len(shown) == 6
    for item in shown:
        shares = expected(run, params, item.image, item.question)
        assert item.answer == max(shares, key=shares.get)
        assert item.probability == pytest.approx(shares[item.answer], rel=1e-4)


def test_asking_for_more_than_there_is_gives_each_image_once(trained, source):
    run, params, _ = trained
    assert len(answer_some(Predictor(run, params), source, 50)) == 6  # one image has no question
    assert answer_some(Predictor(run, params), Pictures(source[2:3]), 4) == []


def test_bad_input_is_named(trained, tmp_path):
    run, params, workdir = trained
    model = vlfusion_jax.load(workdir)
    with pytest.raises(UserError, match=r"nowhere\.png cannot be read \(No such file or directory\)"):
        model.answer(tmp_path / "nowhere.png", "which colour")
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)"):
        model.answer(tmp_path, "which colour")
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"bad\.png"):
        model.answer(tmp_path / "bad.png", "which colour")
    with pytest.raises(UserError, match=r"uint8, got \[20, 30\] float64"):
        model.answer(np.zeros((20, 30)), "which colour")
    unable = build(config_with(**{"tasks.vqa.weight": 0.0, "tasks.itm.weight": 1.0}), run.vocabulary)
    with pytest.raises(UserError, match=r"tasks\.vqa\.weight is 0"):
        Predictor(unable, params)
