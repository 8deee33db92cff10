"""NLVR2 (Suhr et al. 2019): is a sentence true of two photographs? From github.com/lil-lab/nlvr."""

from pathlib import Path

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.json_entries import json_lines, put, text
from vlfusion_jax.data.official.contents import Contents, Entry
from vlfusion_jax.data.official.files import image_folder, plain_name, rows_of, spoken, text_files, whole_number
from vlfusion_jax.data.records import Question

_LABELS = {"True": "true", "False": "false"}
_IMAGES = {"train": "images/train", "dev": "dev", "test1": "test1"}
_CLONED = "nlvr/nlvr2/data"  # where the JSON files lie in a clone of the authors' repository


def read(folder: Path) -> Contents:
    """Splits train, dev and test1 (the public test), as many as are there; a record is a pair, left image first.

    A sentence is a question, answered by true or false; its id is its `identifier`, whose end numbers the sentences of
    a pair.

    Raises:
      UserError: a file is not what it should be, an `identifier` is there twice, or a label is unknown.
    """
    contents = Contents()
    texts = folder / _CLONED if (folder / _CLONED).is_dir() else folder
    for split, where in _IMAGES.items():
        if files := text_files(texts, [f"{split}.json"]):
            images, seen, asked = image_folder(folder, [where]), {}, {}
            for place, row in rows_of(files[0], json_lines(files[0])):
                key, label = plain_name(text(row, "identifier", place), place), text(row, "label", place)
                put(seen, key, place, place)
                if label not in _LABELS:
                    raise UserError(f"{place}: label {label!r} is unknown, expected one of {', '.join(_LABELS)}.")
                pair = key.rpartition("-")[0]
                parent = f"{images}/{whole_number(row, 'directory', place)}" if split == "train" else images
                sentence = spoken(row, "sentence", place)
                if not sentence:
                    contents.dropped.add(split, "sentence without words", place)
                    continue
                sides = tuple(f"{parent}/{pair}-img{side}.png" for side in (0, 1))
                asked.setdefault(sides, []).append(Question(sentence, ((_LABELS[label], 1.0),), id=key))
                contents.answer_counts[_LABELS[label]] += split == "train"
            contents.splits[split] = [Entry(sides, questions=tuple(each)) for sides, each in asked.items()]
    return contents
