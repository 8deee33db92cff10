"""Texts as the tokenizers of `transformers` encode them, read from the files that published models come with."""

import json

import numpy as np
import pytest
import transformers
from tokenizers import pre_tokenizers

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.tokenizer import find_tokenizer, train_tokenizer
from vlfusion_jax.data.vocabulary import Vocabulary

TEXTS = ("What color is the cat's hat?", "A naïve  Zebra, 42 apples!", "", "unseen-word 猫 (left)")
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())


def encoded(folder, length: int) -> tuple[np.ndarray, np.ndarray]:
    vocabulary = Vocabulary(find_tokenizer(folder).to_str(), (), ())
    rows = [vocabulary.encode(text, length) for text in TEXTS]
    return np.stack([ids for ids, _ in rows]), np.stack([mask for _, mask in rows])


def check(tokenizer, folder, length: int = 40) -> None:
    theirs = tokenizer(list(TEXTS), padding="max_length", truncation=True, max_length=length)
    ids, mask = encoded(folder, length)
    np.testing.assert_array_equal(ids, theirs["input_ids"])
    np.testing.assert_array_equal(mask, theirs["attention_mask"])


@pytest.fixture
def pieces() -> list[str]:
    vocab = train_tokenizer([*TEXTS, "the what color hat zebra apples"], 120).get_vocab()
    return sorted(vocab, key=vocab.get)


@pytest.mark.parametrize("length", [40, 6])
def test_bert_from_its_word_list(tmp_path, pieces, length):
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    check(transformers.BertTokenizer(vocab=str(tmp_path / "vocab.txt")), tmp_path, length)


def test_a_cased_word_list_stays_cased(tmp_path, pieces):
    pieces = [*pieces, "What", "Zebra", "A"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    tokenizer = transformers.BertTokenizer(vocab=str(tmp_path / "vocab.txt"), do_lower_case=False)
    check(tokenizer, tmp_path)


def byte_pairs(special: list[str], end: str = "") -> tuple[dict[str, int], list[tuple[str, str]]]:
    words = [*special, *LETTERS, *([letter + end for letter in LETTERS] if end else []), "th", "at"]
    return {word: i for i, word in enumerate(words)}, [("t", "h"), ("a", "t")]


@pytest.mark.parametrize("length", [60, 9])
def test_roberta(tmp_path, length):
    vocab, merges = byte_pairs(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer = transformers.RobertaTokenizer(vocab=vocab, merges=merges)
    tokenizer.save_pretrained(tmp_path)
    check(tokenizer, tmp_path, length)


def test_clip(tmp_path):
    vocab, merges = byte_pairs(["<|startoftext|>", "<|endoftext|>"], end="</w>")
    tokenizer = transformers.CLIPTokenizer(vocab=vocab, merges=merges)
    tokenizer.save_pretrained(tmp_path)
    check(tokenizer, tmp_path, 77)
    with pytest.raises(UserError, match=r"has no \[MASK\]"):
        _ = Vocabulary(find_tokenizer(tmp_path).to_str(), (), ()).mask_id


def test_a_folder_without_tokenizer_says_what_to_do(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match=r"no tokenizer.json and no vocab.txt: give .* --tokenizer=FILE"):
        find_tokenizer(tmp_path)
