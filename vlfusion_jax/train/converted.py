"""A converted model as a checkpoint that runs start from, and the way back."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vlfusion_jax.config.cells import reads_regions
from vlfusion_jax.config.schema import default_config
from vlfusion_jax.convert.hugging_face import Imported
from vlfusion_jax.core import names
from vlfusion_jax.core.tree import flatten, nested
from vlfusion_jax.data.images import Canvas
from vlfusion_jax.data.layout import fills_texts
from vlfusion_jax.data.vocabulary import Vocabulary
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import load_stored
from vlfusion_jax.models.spec.inputs import TextInput
from vlfusion_jax.train.checkpoint import Checkpointer, load_meta, load_params, stored_params
from vlfusion_jax.train.meta import describe_model

REPORT = "conversion.txt"
# Of texts in training: longer ones are rare in questions and captions, and cost time; the model's tables keep their
# length. A model whose texts fill their length has that of its table.
_USUAL_LENGTH = 40
# Tasks by the heads that they train.
_TASKS = {
    names.MLM: names.MLM,
    names.ITM: names.ITM,
    names.CONTRASTIVE: names.ITC,
    names.CAPTION: names.CAPTION,
    names.VQA: names.VQA,
    names.ANSWER: names.ANSWER,
    names.NLVR: names.NLVR,
}


def converted_config(imported: Imported, name: str) -> ConfigDict:
    """A run's config with the model, and the images and texts it was made for; tasks are those with a head."""
    config = default_config()
    config.name = name
    config.model = imported.model
    config.data.source = "jsonl"
    if all(imported.sizes.image_size):  # else it reads no pictures
        config.data.image_size = imported.sizes.image_size
    config.data.regions = imported.model.regions if reads_regions(imported.model) else 0
    canvas = imported.images.canvas if imported.images else Canvas(imported.sizes.image_size, "stretch")
    config.data.resize, config.data.resample = canvas.resize, canvas.resample
    config.data.side_multiple = canvas.multiple
    config.data.shorter_side = canvas.shorter_side or config.data.shorter_side
    room = [each.room for each in imported.spec.inputs if isinstance(each, TextInput)]
    usual = [] if fills_texts(config) else [_USUAL_LENGTH]
    config.data.question_length = config.data.caption_length = min([*usual, *room])
    config.data.answer_length = min([config.data.answer_length, *room])
    for head, task in _TASKS.items():
        config.tasks[task].weight = float(head in imported.heads)
    contrast = dict(imported.spec.heads).get(names.CONTRASTIVE)
    if contrast is not None and contrast.bias is not None:
        config.tasks.itc.loss = "sigmoid"
    return config


def write_converted(folder: Path, imported: Imported, vocabulary: Vocabulary, name: str) -> None:
    """Checkpoint 0 of a work directory, and the report of what became of every key beside it.

    `imported.params` is empty afterwards: each array is let go as the next is placed, so that a model of any size is in
    memory once, plus what is being written.
    """
    config = converted_config(imported, name)
    placed = {}
    while imported.params:
        path, array = imported.params.popitem()
        placed[path] = jax.block_until_ready(jax.device_put(array))  # copied in the background otherwise
        del array
    at_once = 1 + max(leaf.nbytes for leaf in placed.values())  # Orbax wants room for more than the largest
    checkpoints = Checkpointer(folder, config.checkpoint, spare_bytes=at_once)
    checkpoints.save(0, {"params": nested(placed)}, describe_model(config, vocabulary))
    checkpoints.close()
    (folder / REPORT).write_text("\n".join(imported.lines()) + "\n", encoding="utf-8")


def start_from(config: ConfigDict, path: str) -> None:
    """Sets in `config` what a run needs to start from a checkpoint: model, reading of images and texts, `init_from`.

    Raises:
      UserError: no readable checkpoint at `path`.
    """
    stored = load_stored(load_meta(path)["config"], path)
    config.model = stored.model
    config.init_from = path
    sizing = ("image_size", "resize", "shorter_side", "side_multiple", "resample", "regions")
    for key in (*sizing, "question_length", "caption_length", "answer_length"):
        config.data[key] = stored.data[key]
    if reads_regions(config.model):  # what was converted by an older version does not say how many
        config.data.regions = config.data.regions or config.model.regions


def read_parameters(path: str) -> tuple[dict[str, np.ndarray], ConfigDict, Vocabulary]:
    """{path: array} of a checkpoint on the host, with its config and vocabulary.

    Raises:
      UserError: no readable checkpoint.
    """
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    wanted: dict[str, Any] = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here) for name, leaf in stored_params(path).items()
    }
    meta = load_meta(path)
    params = flatten(load_params(path, nested(wanted)))
    return (
        {name: np.asarray(leaf) for name, leaf in params.items()},
        load_stored(meta["config"], path),
        Vocabulary.from_dict(meta["vocabulary"]),
    )


def sizes_of(config: ConfigDict, vocabulary: Vocabulary) -> Given:
    """What data and vocabulary of a run decide about its model."""
    return Given(
        vocabulary.size,
        max(1, len(vocabulary.answers)),
        max(config.data.question_length, config.data.caption_length),
        tuple(config.data.image_size),
        config.tasks.vqa.hidden,
        config.data.regions,
    )


def heads_of(params: dict[str, Any]) -> tuple[str, ...]:
    """Names of the heads among parameters {path: leaf}."""
    first = {path.partition("/")[0] for path in params}
    return tuple(sorted(part.removeprefix(names.HEAD) for part in first if part.startswith(names.HEAD)))
