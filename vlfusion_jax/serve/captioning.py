"""Captions of a whole split, as a run writes them, and how good they are."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from ml_collections import ConfigDict
from tqdm import tqdm

from vlfusion_jax.core import names
from vlfusion_jax.data import images
from vlfusion_jax.data.layout import canvas_of
from vlfusion_jax.data.records import Source
from vlfusion_jax.evals.captioning import captioning_metrics
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
    written: list[str] = []
    progress = tqdm(total=len(chosen), desc="captions", unit=" images", leave=False, disable=None)
    for numbers, inputs in _batches(source, chosen, config):
        texts = writer.write(
            own, inputs, names.CAPTION, config.tasks.caption.prompt,
            beams=config.eval.beams, max_length=config.data.caption_length,
        )  # fmt: skip
        written += [text.text for text in texts[: len(numbers)]]
        progress.update(len(numbers))
    progress.close()
    return chosen, written


def split_metrics(run: Run, params: Any, source: Source) -> dict[str, float]:
    """`evals.captioning.captioning_metrics` of `caption_split`."""
    numbers, written = caption_split(run, params, source)
    references = [source.text_of(number)[0] for number in numbers]
    return captioning_metrics(written, references, run.config.eval.caption_pattern)


def _batches(
    source: Source, chosen: list[int], config: ConfigDict
) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
    """Images of a fixed number at a time, the last one repeated where they run out."""
    size = config.eval.batch_size
    for first in range(0, len(chosen), size):
        numbers = chosen[first : first + size]
        records = [source[number] for number in numbers]
        pixels = [images.decode_image(record.image, record.image_name) for record in records]
        placed = [images.place(each, canvas_of(config.data)) for each in pixels]
        placed += [placed[-1]] * (size - len(placed))
        yield (
            numbers,
            {names.IMAGE: np.stack([x for x, _ in placed]), names.IMAGE_MASK: np.stack([m for _, m in placed])},
        )
