"""The images of a split with all their captions, as a model reads them, and how well it retrieves them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.data.examples import Arrays, concatenate, image_view
from vlfusion_jax.data.layout import fills_texts, layout_of
from vlfusion_jax.data.records import Record, Source
from vlfusion_jax.data.vocabulary import Vocabulary
from vlfusion_jax.serve.inputs import text_arrays
from vlfusion_jax.serve.reading import read_records
from vlfusion_jax.serve.retrieval import SIMILARITY, rank
from vlfusion_jax.serve.scorer import Scorer
from vlfusion_jax.train.converted import heads_of
from vlfusion_jax.train.setup import Run


@dataclass(frozen=True)
class Gallery:
    """Images that have captions, and these.

    Attributes:
      images: inputs of the model, a row for each image.
      image_names: what to call them.
      captions: of all images, one after the other.
      texts: inputs, a row for each caption.
      image_of_text: [captions], the row of each one's image.
    """

    images: Arrays
    image_names: list[str]
    captions: list[str]
    texts: Arrays
    image_of_text: np.ndarray


def read_gallery(source: Source, config: ConfigDict, vocabulary: Vocabulary) -> Gallery:
    """All images of `source`, of the first `data.eval_limit` where that is not 0, that have captions.

    Captions are cut to `data.caption_length` tokens, as in training.

    Raises:
      UserError: no image has a caption, or one cannot be read.
    """
    data = config.data
    seen = range(min(len(source), data.eval_limit or len(source)))
    chosen = [number for number in seen if source.text_of(number)[0]]
    if not chosen:
        raise UserError(
            f"split {data.eval_split!r} has no captions to retrieve: name another with --split, or the field of the "
            "captions in data.fields.caption."
        )
    layout = layout_of(config)

    def read(record: Record) -> tuple[str, Arrays]:
        return record.image_name, image_view(record, layout)

    batches = read_records(source, chosen, config.eval.batch_size, read, " images")
    image_names, views = zip(*[each for batch in batches for each in batch], strict=True)
    shown = {name: x for name, x in concatenate(views).items() if name in names.SHOWN}
    captions = [source.text_of(number)[0] for number in chosen]
    texts = [text for of_image in captions for text in of_image]
    return Gallery(
        shown,
        list(image_names),
        texts,
        text_arrays(texts, names.TEXT, vocabulary, data.caption_length, fills_texts(config)),
        np.repeat(np.arange(len(chosen)), [len(of_image) for of_image in captions]),
    )


def retrieval_evaluator(job: Run, source: Source) -> Callable[[Any], dict[str, float]]:
    """Function (sharded parameters) → recall of a run's model on a split, the same on every host.

    `text_to_image_r1`, `_r5`, `_r10` and `image_to_text_r1` … are those of the last of the rankings that `rank` gives:
    re-ranked by the matching head where the model has both heads. `similarity_text_to_image_r1` … are then those
    before. The function reads the images once and compiles once, at its first call.

    Args:
      job: see `train.setup.Run`.
      source: the split.

    Raises:
      UserError: the function does, as `read_gallery` and `rank` do.
    """

    @cache
    def opened(heads: tuple[str, ...]) -> tuple[Gallery, Scorer]:
        config = job.config
        scorer = Scorer(job.model, None, heads, config.eval.batch_size, job.strategy, config.attention)
        return read_gallery(source, config, job.vocabulary), scorer

    def recalls(params: Any) -> dict[str, float]:
        gallery, scorer = opened(tuple(heads_of(flatten(params))))
        rankings = rank(scorer.with_params(params), gallery.images, gallery.texts)
        found = rankings[-1].recall(gallery.image_of_text)
        for before in rankings[:-1]:
            if before.name == SIMILARITY:
                found |= {f"similarity_{name}": value for name, value in before.recall(gallery.image_of_text).items()}
        return found

    return recalls
