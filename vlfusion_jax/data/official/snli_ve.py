"""SNLI-VE (Xie et al. 2019): does an image of Flickr30k entail a sentence? From github.com/necla-ml/SNLI-VE."""

from pathlib import Path

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.json_entries import json_lines, put, text
from vlfusion_jax.data.official.contents import Contents, Entry
from vlfusion_jax.data.official.files import image_folder, plain_name, rows_of, spoken, text_files
from vlfusion_jax.data.official.karpathy import FLICKR_IMAGES
from vlfusion_jax.data.records import Question

LABELS = ("contradiction", "entailment", "neutral")
_SPLITS = ("train", "dev", "test")
_UNDECIDED = "-"  # what SNLI writes where its annotators do not agree


def read(folder: Path) -> Contents:
    """Splits train, dev and test, as many as are there: hypotheses are questions, answered by one of `LABELS`.

    Raises:
      UserError: a file is not what it should be, a `pairID` is there twice, or a label is unknown.
    """
    contents = Contents()
    for split in _SPLITS:
        if files := text_files(folder, [f"snli_ve_{split}.jsonl"]):
            images, seen, asked = image_folder(folder, FLICKR_IMAGES), {}, {}
            for place, row in rows_of(files[0], json_lines(files[0])):
                key, label = text(row, "pairID", place), text(row, "gold_label", place)
                put(seen, key, place, place)
                image = plain_name(f"{text(row, 'Flickr30K_ID', place)}.jpg", place)
                hypothesis = spoken(row, "sentence2", place)
                if label == _UNDECIDED:
                    contents.dropped.add(split, "no label that most annotators agree on", place)
                elif label not in LABELS:
                    raise UserError(f"{place}: label {label!r} is unknown, expected one of {', '.join(LABELS)}.")
                elif not hypothesis:
                    contents.dropped.add(split, "hypothesis without words", place)
                else:
                    question = Question(hypothesis, ((label, 1.0),), id=key)
                    asked.setdefault(f"{images}/{image}", []).append(question)
                    contents.answer_counts[label] += split == "train"
            contents.splits[split] = [Entry((image,), questions=tuple(each)) for image, each in asked.items()]
    return contents
