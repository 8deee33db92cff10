"""Captions and answers in a model's own words, against the texts of `transformers`."""

import dataclasses
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from tokenizers import decoders
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

import vlfusion_jax
from tests.parity.conftest import randomise
from vlfusion_jax.cli.main import main
from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.partitioned import unbox
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.data.tokenizer import train_tokenizer
from vlfusion_jax.data.vocabulary import Vocabulary
from vlfusion_jax.models.families.table import hyperparameters, model_spec
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.inputs import input_shapes
from vlfusion_jax.serve.inputs import encode_pictures
from vlfusion_jax.serve.model import Model

TEXTS = ("a picture of two small dogs", "what colour is it?", "seventeen apples, a zebra and one yellow hat")
PICTURES = np.random.default_rng(0).integers(256, size=(4, 20, 30, 3), dtype=np.uint8)
TOWER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
LENGTH = 14
CAPTIONING, QUESTIONS = transformers.BlipForConditionalGeneration, transformers.BlipForQuestionAnswering


class Both:
    """A model of theirs with random weights, and what the command makes of it."""

    def __init__(self, kind: type, folder: Path, seed: int):
        tokenizer = train_tokenizer(TEXTS, 90)
        tokenizer.decoder = decoders.WordPiece()  # as the files of published models have it
        vocab, sep = tokenizer.get_vocab_size(), tokenizer.token_to_id("[SEP]")
        text = TOWER | {"vocab_size": vocab + 2, "max_position_embeddings": 24, "encoder_hidden_size": 16}
        config = transformers.BlipConfig(
            text_config=text | {"bos_token_id": vocab, "sep_token_id": sep},
            vision_config=TOWER | {"image_size": 24, "patch_size": 8},
        )  # fmt: skip
        self.theirs = kind(config).eval()
        randomise(self.theirs, seed)
        with torch.no_grad():  # for texts that depend on what is read, and of which some end
            self.theirs.text_decoder.bert.embeddings.word_embeddings.weight.mul_(8)
            self.theirs.text_decoder.cls.predictions.bias[sep] += 4
            for name, weight in self.theirs.named_parameters():
                if "crossattention" in name and name.endswith(("value.weight", "output.dense.weight")):
                    weight.mul_(10)
        self.theirs.save_pretrained(folder / "theirs")
        tokenizer.save(str(folder / "theirs" / "tokenizer.json"))
        self.tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_file=str(folder / "theirs" / "tokenizer.json"), cls_token="[CLS]", sep_token="[SEP]",
            pad_token="[PAD]",
        )  # fmt: skip
        assert main(["convert", "--from=hf", str(folder / "theirs"), f"--out={folder / 'ours'}"]) == 0
        self.folder, self.ours = folder, vlfusion_jax.load(folder / "ours")

    def their_tokens(self, picture: np.ndarray, text: str | None, beams: int, **how: Any) -> Any:
        processor = BlipImageProcessorPil(size={"height": 24, "width": 24})
        inputs = dict(processor(picture, return_tensors="pt"))
        if text is not None:
            read = self.tokenizer(text, return_tensors="pt")
            inputs |= {"input_ids": read.input_ids, "attention_mask": read.attention_mask}
        return self.theirs.generate(**inputs, num_beams=beams, max_length=LENGTH, **how)

    def their_text(self, picture: np.ndarray, text: str | None, beams: int, **how: Any) -> str:
        return self.tokenizer.decode(self.their_tokens(picture, text, beams, **how)[0], skip_special_tokens=True)


@pytest.fixture(scope="module", params=[0, 1])
def captioner(request, tmp_path_factory) -> Both:
    return Both(CAPTIONING, tmp_path_factory.mktemp("captioner"), request.param)


@pytest.fixture(scope="module", params=[0, 1])
def answerer(request, tmp_path_factory) -> Both:
    return Both(QUESTIONS, tmp_path_factory.mktemp("answerer"), request.param)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("prompt", ["", "a picture of"])
def test_captions(captioner, prompt, beams):
    captions = [captioner.ours.caption(picture, prompt, beams, LENGTH) for picture in PICTURES]
    assert captions == [captioner.their_text(picture, prompt or None, beams) for picture in PICTURES]
    assert all(caption.startswith(prompt) for caption in captions)
    assert len(set(captions)) > 1


def test_captions_of_many_pictures_and_prompts_at_once(captioner):
    prompts = ["", "a picture of", "seventeen", "a zebra and one yellow"]
    how = {"min_length": 9, "length_penalty": 1.5, "repetition_penalty": 4.0}
    captions = captioner.ours.captions(PICTURES, prompts, beams=3, max_length=LENGTH, **how)
    pairs = list(zip(PICTURES, prompts, strict=True))
    assert captions == [captioner.their_text(picture, prompt or None, 3, **how) for picture, prompt in pairs]
    assert captions[1] == captioner.ours.caption(*pairs[1], beams=3, max_length=LENGTH, **how)
    assert captions != captioner.ours.captions(PICTURES, prompts, beams=3, max_length=LENGTH)
    with pytest.raises(UserError, match="prompt: 4 are given for 2 texts"):
        captioner.ours.captions(PICTURES[:2], prompts)


def test_captions_that_are_drawn(captioner):
    """Another with another seed, the same with the same one; from next to no nucleus the most probable."""

    def draw(seed: int, top_p: float = 0.95) -> list[str]:
        return captioner.ours.captions(PICTURES, seed=seed, max_length=LENGTH, top_p=top_p, temperature=1.5)

    assert draw(1) == draw(1)
    assert len({*draw(1), *draw(2)}) > 4
    assert draw(1)[0] == captioner.ours.caption(PICTURES[0], "", 1, LENGTH, seed=1, top_p=0.95, temperature=1.5)
    assert draw(1, 1e-6) == captioner.ours.captions(PICTURES, max_length=LENGTH)


def test_the_token_that_begins_a_text_is_none_of_its_words(captioner):
    ours = captioner.ours
    tokenizer = ours.vocabulary.tokenizer
    tokenizer = tokenizer.from_str(tokenizer.to_str())
    tokenizer.add_tokens(["begin"])  # an ordinary one
    assert tokenizer.token_to_id("begin") == ours.config.model.begin_id
    vocabulary = dataclasses.replace(ours.vocabulary, tokenizer_json=tokenizer.to_str())
    again = Model(ours.config, vocabulary, flatten(ours.params))
    assert again.caption(PICTURES[0], max_length=LENGTH) == ours.caption(PICTURES[0], max_length=LENGTH)


@pytest.mark.parametrize("beams", [1, 3])
def test_answers(answerer, beams):
    for picture, question in zip(PICTURES, (*TEXTS, "is a zebra yellow"), strict=True):
        [answer] = answerer.ours.answer(picture, question, beams=beams, max_length=LENGTH)
        assert answer.text == answerer.their_text(picture, question, beams)
        assert 0 < answer.probability < 1


def test_the_probability_of_a_text_is_that_of_its_tokens(answerer):
    [answer] = answerer.ours.answer(PICTURES[0], TEXTS[0], beams=3, max_length=LENGTH)
    how = {"output_scores": True, "return_dict_in_generate": True, "length_penalty": 1.0}
    made = answerer.their_tokens(PICTURES[0], TEXTS[0], 3, **how)
    tokens = int((made.sequences[0] != answerer.tokenizer.pad_token_id).sum()) - 1  # behind the one that begins it
    assert np.log(answer.probability) == pytest.approx(float(made.sequences_scores[0]) * tokens, abs=1e-4)


def test_answers_among_candidates(answerer):
    """Against the log-probability of each candidate alone, from logits of theirs."""
    ours, words = answerer.ours, list(dict.fromkeys(" ".join(TEXTS).replace(",", "").replace("?", "").split()))
    candidates = [*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))]
    begin, end = ours.config.model.begin_id, ours.config.model.end_id
    processor = BlipImageProcessorPil(size={"height": 24, "width": 24})
    question = answerer.tokenizer(TEXTS[1], return_tensors="pt")
    scores = {}
    for candidate in candidates:
        ids = [begin, *answerer.tokenizer(candidate, add_special_tokens=False).input_ids, end]
        pixels = dict(processor(PICTURES[0], return_tensors="pt"))
        with torch.no_grad():
            image = answerer.theirs.vision_model(**pixels).last_hidden_state
            read = answerer.theirs.text_encoder(**{k: question[k] for k in ("input_ids", "attention_mask")},
                                                encoder_hidden_states=image).last_hidden_state  # fmt: skip
            logits = answerer.theirs.text_decoder(torch.tensor([ids]), encoder_hidden_states=read).logits
        scores[candidate] = float(logits[0, :-1].log_softmax(-1)[range(len(ids) - 1), ids[1:]].sum())
    expected = sorted(candidates, key=scores.get, reverse=True)[:4]
    answers = ours.answer(PICTURES[0], TEXTS[1], top=4, candidates=candidates)
    assert [answer.text for answer in answers] == expected
    np.testing.assert_allclose([np.log(a.probability) for a in answers], [scores[each] for each in expected], atol=1e-4)
    assert len(ours.answer(PICTURES[0], TEXTS[1], candidates=["zebra"])) == 1
    with pytest.raises(UserError, match=r"candidates: .* has 27 tokens; this model has room for 24"):
        ours.answer(PICTURES[0], TEXTS[1], candidates=["zebra", " ".join(["a"] * 25)])
    with pytest.raises(UserError, match="candidates: expected a list of texts"):
        ours.answer(PICTURES[0], TEXTS[1], candidates="zebra")


def test_what_is_converted_has_the_task_of_its_head(captioner, answerer):
    for model, task in ((captioner.ours, names.CAPTION), (answerer.ours, names.ANSWER)):
        assert [name for name in names.TASKS if model.config.tasks[name].weight] == [task]


def test_answers_are_chosen_among_those_that_the_conversion_names(answerer, tmp_path, capsys):
    Image.fromarray(PICTURES[0]).save(tmp_path / "0.png")
    row = {"image": "0.png", "question": "what colour is it?", "answer": "a zebra"}
    (tmp_path / "test.jsonl").write_text(json.dumps(row))
    evaluation = ["evaluate", f"--config.data.path={tmp_path}", "--config.eval.batch_size=8", "--json"]
    assert main([*evaluation, f"--workdir={answerer.folder / 'ours'}"]) == 2
    assert "this one knows none: convert it with --answers=FILE" in capsys.readouterr().err

    answers = ["one yellow hat", "a zebra", "dogs"]
    (tmp_path / "answers.txt").write_text("\n".join(answers))
    convert = ["convert", "--from=hf", str(answerer.folder / "theirs"), f"--out={tmp_path / 'named'}"]
    assert main([*convert, f"--answers={tmp_path / 'answers.txt'}"]) == 0
    capsys.readouterr()
    assert main([*evaluation, f"--workdir={tmp_path / 'named'}"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["answer_accuracy"]
    [best] = answerer.ours.answer(PICTURES[0], row["question"], top=1, candidates=answers)
    assert found == float(best.text == row["answer"])


def test_what_a_model_does_not_write_is_said(captioner, answerer):
    with pytest.raises(UserError, match=r"writes no captions: it has no head 'caption'; it answers questions"):
        answerer.ours.caption(PICTURES[0])
    with pytest.raises(UserError, match=r"cannot answer questions: it has no head 'vqa'; it writes captions"):
        captioner.ours.answer(PICTURES[0], TEXTS[1])
    with pytest.raises(UserError, match="max_length is 25; this model has room for 24"):
        captioner.ours.caption(PICTURES[0], max_length=25)
    with pytest.raises(UserError, match="beams is 0"):
        captioner.ours.caption(PICTURES[0], beams=0)
    with pytest.raises(UserError, match="cannot answer questions: it has no head 'vqa'"):
        captioner.ours.answer(PICTURES[0], TEXTS[1], candidates=["zebra"])


def test_a_captioner_of_a_run_begins_and_ends_as_its_tokenizer_does():
    """ALBEF with a decoder, which also reads texts, against the whole model at every step."""
    config, tokenizer = default_config(), train_tokenizer(TEXTS, 90)
    config.model = hyperparameters("albef", "tiny", decoder_layers=2, text_positions=LENGTH + 2)
    config.data.image_size, vocabulary = (24, 40), Vocabulary(tokenizer.to_str(), ("yes",), ())
    module = FusionModel(model_spec(config, vocabulary.size, 1))
    shapes = input_shapes(module.spec.inputs)
    found = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, (names.CAPTION,)), shapes)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32), unbox(found)["params"])
    model = Model(config, vocabulary, flatten(params))
    inputs, _ = encode_pictures(list(PICTURES[:2]), module.spec, config.data)
    expected = np.full((2, LENGTH), vocabulary.pad_id, np.int32)
    expected[:, 0] = tokenizer.token_to_id("[CLS]")
    step = jax.jit(lambda inputs: module.apply({"params": params}, inputs, (names.CAPTION,)).logits[names.CAPTION])
    for place in range(1, LENGTH):
        mask = np.broadcast_to((np.arange(LENGTH) < place).astype(np.int32), expected.shape)
        logits = step(inputs | {names.TARGET: expected, names.mask_of(names.TARGET): mask})
        expected[:, place] = np.asarray(logits)[:, place - 1].argmax(-1)
    ends = [(row == tokenizer.token_to_id("[SEP]")).argmax() or LENGTH for row in expected]
    texts = [vocabulary.decode(row[:end].tolist()) for row, end in zip(expected, ends, strict=True)]
    assert model.captions(PICTURES[:2], max_length=LENGTH) == texts
    assert all(texts)


def test_back_in_transformers_a_model_writes_the_same(captioner):
    back = captioner.folder / "back"
    assert main(["convert", "--to=hf", str(captioner.folder / "ours"), f"--out={back}"]) == 0
    before, after = (json.loads((captioner.folder / each / "config.json").read_text()) for each in ("theirs", "back"))
    for key in ("bos_token_id", "sep_token_id"):
        assert after["text_config"][key] == before["text_config"][key]
    shutil.rmtree(back)
