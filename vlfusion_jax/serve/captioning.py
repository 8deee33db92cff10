"""Captions of a whole split, as a run writes them, and how good they are."""

from functools import partial
from typing import Any

import jax
from jax.experimental.multihost_utils import process_allgather

from vlfusion_jax.core import names
from vlfusion_jax.data.examples import concatenate, image_view
from vlfusion_jax.data.layout import layout_of
from vlfusion_jax.data.records import Source
from vlfusion_jax.evals.captioning import captioning_metrics
from vlfusion_jax.serve.reading import read_records
from vlfusion_jax.serve.writing import Writer
from vlfusion_jax.train.setup import Run


def caption_split(run: Run, params: Any, source: Source) -> tuple[list[int], list[str]]:
    """Numbers of the images that have captions, of the first `data.eval_limit` where that is not 0, and ours of each.

    Found by `eval.beams`; of `data.caption_length` tokens at most. Every process writes all of them, with parameters of
    its own.
    """
    config = run.config
    seen = range(min(len(source), config.data.eval_limit or len(source)))
    chosen = [number for number in seen if source.text_of(number)[0]]
    writer = Writer(run.model, config.model, run.vocabulary)
    own = params if run.strategy.mesh.size == 1 else jax.device_put(process_allgather(params, tiled=True))
    layout, size = layout_of(config), config.eval.batch_size
    written: list[str] = []
    for views in read_records(source, chosen, size, partial(image_view, layout=layout), " captions"):
        rows = concatenate(views + views[-1:] * (size - len(views)))  # of one shape, the last one repeated
        inputs = {name: x for name, x in rows.items() if name in names.SHOWN}
        texts = writer.write(
            own, inputs, names.CAPTION, config.tasks.caption.prompt,
            beams=config.eval.beams, max_length=config.data.caption_length,
        )  # fmt: skip
        written += [text.text for text in texts[: len(views)]]
    return chosen, written


def split_metrics(run: Run, params: Any, source: Source) -> dict[str, float]:
    """`evals.captioning.captioning_metrics` of `caption_split`."""
    numbers, written = caption_split(run, params, source)
    references = [source.text_of(number)[0] for number in numbers]
    return captioning_metrics(written, references, run.config.eval.caption_pattern)
