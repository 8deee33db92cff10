"""Tokenizer and vocabulary: determinism across processes, encoding, loading, and differences named."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from tokenizers import Tokenizer

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.tokenizer import find_tokenizer, load_tokenizer, train_tokenizer
from vlfusion_jax.data.vocabulary import Vocabulary, build_vocabulary, check_same

TEXTS = ["The cat sat on the mat.", "a dog's café, unbelievable!", "believable cats and doggedness", "mat mats matting"]


@pytest.fixture
def vocabulary():
    return Vocabulary(train_tokenizer(TEXTS, 70).to_str(), ("yes", "no"), ("color",))


def test_training_is_the_same_in_any_order_and_process():
    here = train_tokenizer(TEXTS, 70).to_str()
    assert here == train_tokenizer([*reversed(TEXTS), TEXTS[0]], 70).to_str()
    code = f"from vlfusion_jax.data.tokenizer import train_tokenizer as t; print(t({TEXTS!r}, 70).to_str())"
    for _ in range(2):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        there = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
        )
        assert there.stdout.strip() == here


def test_special_tokens_come_first_and_every_character_is_known(vocabulary):
    assert [vocabulary.tokenizer.id_to_token(i) for i in range(5)] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert (vocabulary.pad_id, vocabulary.tokenizer.token_to_id("[CLS]"), vocabulary.end_id, vocabulary.mask_id) == (
        0,
        2,
        3,
        4,
    )
    assert vocabulary.size == 70
    np.testing.assert_array_equal(vocabulary.ordinary_ids, np.arange(5, 70))
    for text in TEXTS:
        assert 1 not in vocabulary.encode(text, 64)[0]
    assert train_tokenizer(TEXTS, 10).get_vocab_size() > 10


def test_encoding_lower_cases_splits_and_pads(vocabulary):
    ids, mask = vocabulary.encode("The CAT, the mat", 12)
    tokens = [vocabulary.tokenizer.id_to_token(i) for i in ids]
    assert tokens == ["[CLS]", "the", "cat", ",", "the", "mat", "[SEP]", *["[PAD]"] * 5]
    np.testing.assert_array_equal(mask, [1] * 7 + [0] * 5)
    np.testing.assert_array_equal(vocabulary.word_ids("The CAT, the mat", 12), [-1, 0, 1, 2, 3, 4, -1, *[-1] * 5])
    assert ids.dtype == mask.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = 9


def test_pieces_of_a_word_share_its_number(vocabulary):
    ids, mask = vocabulary.encode("cat doggedness", 32)
    words = vocabulary.word_ids("cat doggedness", 32)
    pieces = int(mask.sum()) - 3
    assert pieces > 1
    np.testing.assert_array_equal(words[: pieces + 3], [-1, 0, *[1] * pieces, -1])
    assert all(vocabulary.tokenizer.id_to_token(i).startswith("##") for i in ids[3 : pieces + 2])


def test_words_are_as_written_with_the_places_of_their_pieces(vocabulary):
    found = vocabulary.words("The CAT, doggedness?", 32)
    last = int(vocabulary.encode("The CAT, doggedness?", 32)[1].sum()) - 3  # before ? and [SEP]
    assert found == [("The", [1]), ("CAT", [2]), ("doggedness", [*range(4, last + 1)])]
    assert last > 4
    assert vocabulary.words("The CAT, doggedness?", 4) == [("The", [1]), ("CAT", [2])]
    assert vocabulary.words("?!", 8) == []


@pytest.mark.parametrize("length", [2, 3, 6, 7])
def test_long_texts_are_cut_but_keep_their_end(vocabulary, length):
    ids, mask = vocabulary.encode("the cat the cat the cat", length)
    assert ids[0] == vocabulary.tokenizer.token_to_id("[CLS]")
    assert ids[-1] == vocabulary.end_id
    assert mask.all()
    assert (vocabulary.word_ids("the cat the cat the cat", length)[[0, -1]] == -1).all()


def test_empty_text_is_its_two_ends(vocabulary):
    ids, mask = vocabulary.encode("", 4)
    np.testing.assert_array_equal(ids, [2, 3, 0, 0])
    np.testing.assert_array_equal(mask, [1, 1, 0, 0])


def test_survives_json(vocabulary):
    again = Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict())))
    assert again == vocabulary
    np.testing.assert_array_equal(again.encode(TEXTS[1], 32)[0], vocabulary.encode(TEXTS[1], 32)[0])


def test_loaded_tokenizer_is_the_trained_one(tmp_path, toy_folder, jsonl_config):
    path = tmp_path / "tokenizer.json"
    trained = train_tokenizer(TEXTS, 70)
    trained.save(str(path))
    config = jsonl_config(toy_folder)
    config.data.tokenizer = str(path)
    built = build_vocabulary([open_source(config.data, "train")], config.data)
    assert built.tokenizer.get_vocab() == trained.get_vocab()
    assert built.tokenizer.encode("the cat").ids == trained.encode("the cat").ids


def test_loaded_tokenizer_gains_its_ends_and_loses_its_padding(tmp_path):
    bare = json.loads(train_tokenizer(TEXTS, 70).to_str()) | {"post_processor": None}
    tokenizer = Tokenizer.from_str(json.dumps(bare))
    tokenizer.enable_padding(length=50)
    tokenizer.enable_truncation(3)
    tokenizer.save(str(tmp_path / "bare.json"))
    tokens = load_tokenizer(str(tmp_path / "bare.json")).encode("the cat sat on").tokens
    assert tokens[0] == "[CLS]"
    assert tokens[-1] == "[SEP]"
    assert len(tokens) >= 6


def test_unusable_tokenizers_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"data.tokenizer .*none.json' is not a file"):
        load_tokenizer(str(tmp_path / "none.json"))
    (tmp_path / "text.json").write_text("{}")
    with pytest.raises(UserError, match=r"text.json' is not a tokenizer.json of"):
        load_tokenizer(str(tmp_path / "text.json"))
    other = train_tokenizer(TEXTS, 70).to_str().replace("[PAD]", "[FILL]")
    (tmp_path / "other.json").write_text(other)
    with pytest.raises(UserError, match=r"has no \[PAD\]"):
        load_tokenizer(str(tmp_path / "other.json"))


def test_messages_say_what_named_the_file(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError) as found:
        find_tokenizer(tmp_path)
    assert str(found.value).startswith(f"'{tmp_path / 'tokenizer.json'}' is not a tokenizer.json of")
    with pytest.raises(UserError, match=r"^--tokenizer 'none.json' is not a file: give .* vocab.json with its merges"):
        load_tokenizer("none.json", key="--tokenizer")


PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "\u2028", "\x85", "no", "No"]


@pytest.mark.parametrize(
    ("said", "tokens"), [(None, "No"), ({"do_lower_case": True}, "no"), ({"do_lower_case": False}, "No"), ({}, "No")]
)
def test_word_pieces_are_lines_and_their_config_says_whether_letters_become_small(tmp_path, said, tokens):
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    if said is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    tokenizer = find_tokenizer(tmp_path)
    assert [tokenizer.token_to_id(piece) for piece in PIECES] == list(range(len(PIECES)))
    assert tokenizer.get_vocab_size() == len(PIECES)
    assert tokenizer.encode("No").tokens == ["[CLS]", tokens, "[SEP]"]


def test_a_damaged_tokenizer_config_is_named(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text("[")
    with pytest.raises(UserError, match=r"tokenizer_config.json is no JSON object"):
        find_tokenizer(tmp_path)


def test_answers_by_count_then_name(tmp_path, write_jsonl, jsonl_config, png):
    answers = ["b", "b", "a", "a", "c", "c", "c", "d"]
    rows = [
        {"image": "0.png", "question": "q", "answer": a, "kind": k} for a, k in zip(answers, "zzyyxx  ", strict=True)
    ]
    rows += [{"image": "0.png", "question": "q", "answer": ["c"] * 8 + ["e", "f"]}]
    config = jsonl_config(write_jsonl(tmp_path, rows, {"0.png": png(8, 8)}))
    source = open_source(config.data, "train")
    vocabulary = build_vocabulary([source], config.data)
    assert vocabulary.answers == ("c", "a", "b", "d", "e", "f")
    assert vocabulary.kinds == (" ", "x", "y", "z")
    assert vocabulary.answers_per_question == 3
    config.data.answers_min_count = 2
    assert build_vocabulary([source], config.data).answers == ("c", "a", "b")
    config.data.answers_min_count = 5
    with pytest.raises(UserError, match=r"'c', occurs 4 times: lower data.answers_min_count"):
        build_vocabulary([source], config.data)


def test_first_difference_is_named(vocabulary):
    check_same(vocabulary, Vocabulary.from_dict(vocabulary.to_dict()), "here")

    def differs(message, **changes):
        other = Vocabulary.from_dict(vocabulary.to_dict() | changes)
        with pytest.raises(UserError, match=message):
            check_same(other, vocabulary, "runs/a")

    differs("runs/a: number 1 of its answers is 'no' there and 'maybe' here", answers=["yes", "maybe"])
    differs("it has 2 answers, here are 3", answers=["yes", "no", "red"])
    differs("it has 1 kinds, here are 0", kinds=[])
    differs("number 5 of its tokens is '.+' there and '.+' here", tokenizer_json=train_tokenizer(["xyz"], 20).to_str())
    lower = vocabulary.tokenizer_json.replace('"lowercase":true', '"lowercase":false')
    differs("rules differ", tokenizer_json=lower)
    differs("up to 4 answers here, but 1 in runs/a", answers_per_question=4)
