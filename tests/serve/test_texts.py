"""How long the texts are that a loaded model reads; those of SigLIP, whose padding counts, against `transformers`."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from tests.parity.conftest import TINY, close, randomise
from vlfusion_jax.cli.main import main
from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.examples import match_view
from vlfusion_jax.data.layout import layout_of
from vlfusion_jax.data.tokenizer import train_tokenizer
from vlfusion_jax.serve.model import Model, load

WORDS = ["a", "photo", "of", "cat", "dog", "two", "dogs", "."]
TEXTS = ["a photo of a cat", "two dogs .", "a", " ".join(WORDS * 4)]
TOWER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
ROOM = 21
PICTURE = np.random.default_rng(0).integers(256, size=(16, 16, 3), dtype=np.uint8)


def sentence_pieces() -> Tokenizer:
    """As that of SigLIP: no token begins a text, `</s>` ends and fills it, and there is a `<pad>` that is not used."""
    vocab = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(["</s>", "<unk>"])
    return tokenizer


def converted(model: torch.nn.Module, tokenizer: Tokenizer, folder: Path) -> Model:
    randomise(model, 1)
    model.save_pretrained(folder / "theirs")
    tokenizer.save(str(folder / "theirs" / "tokenizer.json"))
    assert main(["convert", "--from=hf", str(folder / "theirs"), f"--out={folder / 'ours'}"]) == 0
    return load(folder / "ours")


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    """Theirs and ours."""
    text = TOWER | {"vocab_size": 20, "max_position_embeddings": ROOM, "projection_size": 16}
    vision = TOWER | {"image_size": 16, "patch_size": 8}
    theirs = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision)).eval()
    return theirs, converted(theirs, sentence_pieces(), tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    config = transformers.BertConfig(**TOWER, vocab_size=60, max_position_embeddings=ROOM)
    return converted(transformers.BertModel(config), train_tokenizer(TEXTS, 60), tmp_path_factory.mktemp("bert"))


@pytest.mark.filterwarnings("ignore:a text of 33 tokens is cut to 21")
def test_siglip_reads_texts_as_it_is_used(siglip):
    """Filled to the whole table, without a mask."""
    theirs, ours = siglip
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=sentence_pieces(), pad_token="</s>", eos_token="</s>", unk_token="<unk>"
    )
    read = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=ROOM, return_tensors="pt").input_ids
    inputs = ours.encode([PICTURE], TEXTS)
    np.testing.assert_array_equal(inputs[names.TEXT], read)
    assert inputs[names.TEXT_MASK].all()
    processor = SiglipImageProcessorPil(size={"height": 16, "width": 16})
    expected = theirs(input_ids=read, pixel_values=processor(PICTURE, return_tensors="pt").pixel_values)
    contrast = ours(inputs).logits[names.CONTRASTIVE]
    close(contrast["text"], expected.text_embeds, TINY)
    close(contrast["image"], expected.image_embeds, TINY)
    close(contrast["logits"], expected.logits_per_text, TINY)


def test_siglip_is_trained_on_what_it_reads(siglip):
    _, ours = siglip
    assert (ours.config.data.question_length, ours.config.data.caption_length) == (ROOM, ROOM)
    view = match_view(TEXTS[0], True, layout_of(ours.config), ours.vocabulary)
    read = ours.encode([PICTURE], TEXTS[:1])
    for name in (names.TEXT, names.TEXT_MASK):
        np.testing.assert_array_equal(view[names.key(names.MATCH, name)], read[name])
    assert not layout_of(default_config()).fill_texts


def test_texts_are_as_long_as_the_longest(bert):
    with warnings.catch_warnings(action="error"):
        assert bert.encode(texts=["a cat"])[names.TEXT].shape == (1, 8)
        assert bert.encode(texts=["a cat", "a photo of two dogs . a cat"])[names.TEXT].shape == (2, 16)
        longest = bert.encode(texts=[" ".join(["a"] * (ROOM - 2))])
        assert longest[names.TEXT].shape == (1, ROOM)
    short, long = (np.asarray(bert(bert.encode(texts=["a cat"], length=n)).pooled) for n in (0, 20))
    np.testing.assert_allclose(short, long, atol=1e-6)


def test_a_text_that_is_cut_is_named(bert):
    with pytest.warns(UserWarning, match=f"a text of 34 tokens is cut to {ROOM}: 'a photo of a"):
        cut = bert.encode(texts=[" ".join(["a photo of a"] * 8)])
    assert cut[names.TEXT].shape == (1, ROOM)
    with pytest.warns(UserWarning, match="a text of 4 tokens is cut to 3: 'a cat'"):
        bert.encode(texts=["a cat"], length=3)
    with pytest.raises(UserError, match=f"texts of 22 tokens are too long: this model has room for {ROOM}"):
        bert.encode(texts=["a cat"], length=22)
