"""Texts as the tokenizers of `transformers` encode them, read from the files that published models come with."""

import json

import numpy as np
import pytest
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

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


ROBERTA, CLIP = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"], ["<|startoftext|>", "<|endoftext|>"]
# What a text is drawn from: words, marks of their own treatment, several kinds of space, signs beyond ASCII.
WORDS = "what colour THE cat's they'll I'd 42 7 naïve Zébra 猫 é Ａ ß 🐱 👩\u200d🚀 ﬁ İ ... ?! -- _"
PARTS = (
    *WORDS.split(),
    *(" ", "  ", "\t", "\n", "\u00a0", "\u3000", "\u2028", "e\u0301", *ROBERTA, *CLIP, " <mask>", "<MASK>", "</w>"),
)  # fmt: skip


@pytest.fixture(params=["Roberta", "CLIP"])
def pairs(request, tmp_path):
    """Name of a kind of tokenizer, and a folder with its word list and merges, trained on a few texts."""
    special, end = (ROBERTA, "") if request.param == "Roberta" else (CLIP, "</w>")
    blank = Tokenizer(models.BPE(end_of_word_suffix=end))
    blank.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=special, initial_alphabet=LETTERS, end_of_word_suffix=end, show_progress=False
    )
    blank.train_from_iterator([*TEXTS, *PARTS, "the cat that they call a colour cat"], trainer)
    vocab = blank.get_vocab()
    # Each letter has to have a token at the end of a word too.
    for letter in LETTERS if end else ():
        vocab.setdefault(letter + end, len(vocab))
    blank.model.save(str(tmp_path))
    (tmp_path / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    return request.param, tmp_path


def check_byte_pairs(kind: str, folder) -> None:
    """Rules and tokens of random texts as those of the class of `transformers` that reads the same files."""
    theirs = getattr(transformers, f"{kind}Tokenizer").from_pretrained(folder)
    ours = find_tokenizer(folder)
    rules, expected = (json.loads(each.to_str()) for each in (ours, theirs.backend_tokenizer))
    for part in ("added_tokens", "normalizer", "pre_tokenizer", "decoder", "model"):
        assert rules[part] == expected[part], part
    numbers = np.random.default_rng(0)
    for _ in range(300):
        text = "".join(numbers.choice(PARTS, numbers.integers(12))) + chr(numbers.integers(0x20, 0xD7FF))
        assert ours.encode(text).ids == theirs(text).input_ids, text


def test_byte_pairs_without_rules(pairs):
    check_byte_pairs(*pairs)


def test_byte_pairs_with_settings(pairs):
    """As old tokenizers were saved: the hole in a text takes the space before it along."""
    kind, folder = pairs
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    tokens = ROBERTA if kind == "Roberta" else CLIP
    described = {str(i): {"content": token} | flags | {"lstrip": token == "<mask>"} for i, token in enumerate(tokens)}
    settings = {"added_tokens_decoder": described}
    if kind == "Roberta":
        settings |= {"add_prefix_space": True, "mask_token": "<mask>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    check_byte_pairs(kind, folder)


def test_a_word_list_without_its_merges(pairs):
    _, folder = pairs
    (folder / "merges.txt").unlink()
    with pytest.raises(UserError, match=r"needs the merges.txt that belongs to it"):
        find_tokenizer(folder)
    (folder / "merges.txt").write_text("a b c\n")
    with pytest.raises(UserError, match=r"is not a vocab.json of RoBERTa or CLIP with its merges.txt"):
        find_tokenizer(folder)


def test_a_folder_without_tokenizer_says_what_to_do(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(UserError, match=r"holds no tokenizer: give the model.s own with --tokenizer=FILE"):
        find_tokenizer(tmp_path)
