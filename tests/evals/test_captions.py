"""Caption metrics against scores that the official code gave, from raw text."""

import json

import numpy as np
import pytest

from vlfusion_jax.evals.captions import METRICS, bleu, caption_scores, cider, rouge_l
from vlfusion_jax.evals.ptb_tokenizer import caption_words

OFFICIAL = dict(zip(METRICS, ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "ROUGE_L", "CIDEr"), strict=True))
SETS = ("human_loo_1000", "fakecap2014_overlap126")


@pytest.fixture(scope="module")
def rows(data_folder):
    """Function: name of a set -> its images."""

    def read(name):
        text = (data_folder("coco_caption_metrics") / f"{name}.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    return read


def test_words_are_those_of_the_official_tokenizer(rows):
    captions, different = 0, []
    for row in (row for name in SETS for row in rows(name)):
        texts, words = [row["hypothesis"], *row["references"]], [row["hypothesis_tok"], *row["references_tok"]]
        captions += len(texts)
        different += [(t, w) for t, w in zip(texts, words, strict=True) if " ".join(caption_words(t)) != w]
    assert captions == 5757
    assert len(different) <= captions / 1000, different


@pytest.mark.parametrize("name", SETS)
def test_scores_from_raw_text(rows, data_folder, name):
    images = rows(name)
    found = caption_scores([row["hypothesis"] for row in images], [row["references"] for row in images])
    folder = data_folder("coco_caption_metrics")
    expected = json.loads((folder / f"{name}.scores.json").read_text(encoding="utf-8"))["scores"]
    for ours, theirs in OFFICIAL.items():
        assert found.corpus[ours] == pytest.approx(expected[theirs], abs=1e-6), ours
        items = [row["per_item"][theirs] for row in images]
        np.testing.assert_allclose(found.items[ours], items, atol=1e-6, err_msg=ours)


def test_two_sentences(data_folder):
    text = (data_folder("coco_caption_metrics") / "nlg_eval_example.json").read_text(encoding="utf-8")
    example = json.loads(text)
    captions = [item["hypothesis"].split() for item in example["items"]]
    references = [[text.split() for text in item["references"]] for item in example["items"]]
    corpus, _ = bleu(captions, references)
    expected = example["expected"]
    np.testing.assert_allclose(corpus, [expected[f"Bleu_{n}"] for n in (1, 2, 3, 4)], atol=1e-6)
    assert rouge_l(captions, references).mean() == pytest.approx(expected["ROUGE_L"], abs=1e-6)
    assert cider(captions, references).mean() == pytest.approx(expected["CIDEr"], abs=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I can't, and won't: it's the dogs' bowl", "i ca n't and wo n't it 's the dogs bowl"),
        ("A man cannot see; he'll fall...", "a man can not see he 'll fall"),
        ("Mr. Smith (left) paid 1,000.50 at 10:30", "mr. smith -lrb- left -rrb- paid 1,000.50 at 10:30"),
        ('the "quoted" one - and -- two', "the quoted one and two"),
        ("a red/white close-up on Main St.", "a red/white close-up on main st."),
        ("what o'clock is it?!", "what o'clock is it"),
        ("a caf\u00e9 at the children\u2019s zoo", "a caf\u00e9 at the children 's zoo"),
        ("  \n ", ""),
    ],
)
def test_words(text, words):
    assert " ".join(caption_words(text)) == words


def test_a_caption_without_words_scores_nothing():
    found = caption_scores(["...", "a cat"], [["a dog runs"], ["a cat", "one cat"]])
    assert [found.items[name][0] for name in ("rouge_l", "cider")] == [0, 0]
    assert found.items["bleu1"][0] < 1e-3
    assert found.items["rouge_l"][1] == 1


@pytest.mark.parametrize(
    ("captions", "references", "message"),
    [
        (["a cat"], [], "1 captions, but references of 0 images"),
        (["a cat", "a dog"], [["a cat"], []], "image 1 has no reference"),
    ],
)
def test_mistakes(captions, references, message):
    with pytest.raises(ValueError, match=message):
        caption_scores(captions, references)
