"""Checks of a config before any device is touched; each message names the key and what to do."""

import itertools
import math
import re
from typing import Any

from ml_collections import ConfigDict

from vlfusion_jax.config.cells import reads_regions
from vlfusion_jax.config.keys import flatten, nearest
from vlfusion_jax.config.views import views_of
from vlfusion_jax.core import names
from vlfusion_jax.core.arithmetic import longest_side
from vlfusion_jax.core.errors import UserError

_CHOICES = {
    "attention": ("xla", "splash", "cudnn"),
    "precision.compute": ("float32", "bfloat16"),
    "tasks.combine": ("sum", "uncertainty", "sample"),
    "tasks.itm.negatives": ("random", "hard"),
    "tasks.itc.loss": ("softmax", "sigmoid"),
    "tasks.vqa.loss": ("bce", "ce"),
    "tasks.mrm.target": ("feature", "class", "kl"),
    "tasks.mrm.loss": ("mse", "smooth_l1"),
    "tasks.context.loss": ("mse", "cosine"),
    "data.resize": ("fit", "shorter", "stretch", "crop", "side_crop", "shorter_crop"),
    "data.randaugment": ("", "vilt", "albef"),
    "data.resample": ("auto", "nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"),
    "optim.schedule": ("constant", "linear", "cosine"),
    "checkpoint.best_mode": ("max", "min"),
}

_POSITIVE = (
    "data.questions_per_image", "data.shorter_side", "data.side_multiple", "data.threads", "data.prefetch",
    "data.answers_min_count",
    "optim.lr", "optim.eps", "optim.head_lr_multiplier",
    "train.steps", "train.batch_size", "train.micro_batches", "train.log_every", "eval.batch_size", "eval.beams",
    "checkpoint.keep",
)  # fmt: skip

_NOT_NEGATIVE = (
    "seed", "data.shift", "data.eval_limit", *(f"tasks.{task}.weight" for task in names.TASKS), "tasks.vqa.hidden",
    "data.regions", "tasks.mrm.classes", "tasks.context.width",
    "tasks.itc.queue", "tasks.itc.soft_steps", "optim.warmup_steps", "optim.final_lr", "optim.weight_decay",
    "optim.clip_norm", "train.eval_every", "checkpoint.every", "audit.max_replicated_kib",
)  # fmt: skip

_BELOW_ONE = (
    "optim.b1",
    "optim.b2",
    "tasks.itc.momentum",
    "tasks.itc.soft_share",
    "tasks.caption.smoothing",
    "tasks.answer.smoothing",
)

# [PAD] [UNK] [CLS] [SEP] [MASK] and at least one piece.
_SMALLEST_VOCABULARY = 6
# [CLS], one piece, [SEP].
_SHORTEST_TEXT = 3


def validate(config: ConfigDict) -> None:
    """Check values and how they go together; `config.model` is its family's to check.

    Raises:
      UserError: the first thing that is wrong.
    """
    values = flatten(config)
    for key, choices in _CHOICES.items():
        _one_of(key, values[key], choices)
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{key} is {value}; it must be a finite number.")
    for key in _POSITIVE:
        _require(values[key] > 0, key, values[key], "must be greater than 0")
    for key in _NOT_NEGATIVE:
        _require(values[key] >= 0, key, values[key], "must not be negative")
    for key in _BELOW_ONE:
        _require(0 <= values[key] < 1, key, values[key], "must be at least 0 and below 1")
    _whole_numbers("data.image_size", config.data.image_size, 2)
    _check_data(config)
    _check_tasks(config.tasks)
    _check_pairs(config)
    _check_regions(config)
    _check_whole_batch(config)
    _check_pattern("eval.caption_pattern is", config.eval.caption_pattern)
    _check_optim(config.optim, config.train.steps)
    _check_published(config.published)
    if config.train.batch_size % config.train.micro_batches:
        raise UserError(
            f"train.batch_size {config.train.batch_size} does not divide by train.micro_batches "
            f"{config.train.micro_batches}; choose a divisor."
        )
    if not re.fullmatch(r"[\w.-]*[\w-][\w.-]*", config.name):
        raise UserError(f"name is {config.name!r}; it names a folder: use letters, digits, '_', '-' and '.'.")
    _require(config.seed < 2**32, "seed", config.seed, "must be below 2**32")
    _check_best(config.checkpoint, config.train)


def _check_whole_batch(config: ConfigDict) -> None:
    """Hard pairs are those of a whole batch, which micro-batches would cut."""
    hard = sorted(task for task, view in views_of(config.tasks).items() if view == names.HARD)
    if hard and config.train.micro_batches > 1:
        raise UserError(
            f"train.micro_batches is {config.train.micro_batches}, but with tasks.itm.negatives=hard "
            f"{' and '.join(hard)} pair texts and images of the whole batch: set train.micro_batches=1, and "
            "model.remat=full if memory is short, or tasks.itm.negatives=random."
        )
    if config.tasks.itc.queue % config.train.batch_size:
        raise UserError(
            f"tasks.itc.queue {config.tasks.itc.queue} does not divide by train.batch_size {config.train.batch_size}."
        )


def _check_best(checkpoint: ConfigDict, train: ConfigDict) -> None:
    if checkpoint.best_metric and train.eval_every and (not checkpoint.every or train.eval_every % checkpoint.every):
        raise UserError(
            f"checkpoint.best_metric ranks only what is both evaluated and saved: make train.eval_every "
            f"{train.eval_every} a multiple of checkpoint.every {checkpoint.every}."
        )


def _one_of(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{key} is {value!r}; it must be one of {', '.join(choices)}.{nearest(value, choices)}")


def _require(holds: bool, key: str, value: Any, rule: str) -> None:
    if not holds:
        raise UserError(f"{key} is {value!r}; it {rule}.")


def _whole_numbers(key: str, value: tuple, count: int | None = None) -> None:
    right = (
        bool(value) and all(type(item) is int and item > 0 for item in value) and len(value) == (count or len(value))
    )
    form = f"{count} whole numbers" if count else "one or more whole numbers"
    _require(right, key, value, f"must be a tuple of {form} above 0")


def _check_data(config: ConfigDict) -> None:
    data = config.data
    _one_of("data.source", data.source.partition(":")[0], names.SOURCES)  # sort_of_clevr:64,8
    if data.source == names.JSONL and not data.path:
        raise UserError("data.path is empty; set --config.data.path to the folder that holds the JSONL files.")
    if data.source == names.TFDS:
        raise UserError("data.source is 'tfds'; name the data set too, such as tfds:coco_captions.")
    for key in ("train_split", "eval_split"):
        _require(bool(data[key]), f"data.{key}", data[key], "must name a split")
    for key in ("question_length", "caption_length", "answer_length"):
        _require(data[key] >= _SHORTEST_TEXT, f"data.{key}", data[key], f"must be at least {_SHORTEST_TEXT}")
    if not data.tokenizer:
        rule = f"must be at least {_SMALLEST_VOCABULARY}, or set data.tokenizer"
        _require(data.vocab_size >= _SMALLEST_VOCABULARY, "data.vocab_size", data.vocab_size, rule)
    longest = longest_side(data.shorter_side, data.side_multiple)
    if data.resize == "shorter" and min(data.image_size) < longest:
        raise UserError(
            f"data.image_size {data.image_size} does not hold every image of data.shorter_side {data.shorter_side}: "
            f"both sides must be at least {longest}."
        )
    if data.shift >= min(data.image_size):
        raise UserError(f"data.shift {data.shift} moves the whole image out of data.image_size {data.image_size}.")
    for name, field in data.fields.items():
        _require(bool(field), f"data.fields.{name}", field, "must name a field of the JSONL lines")


def _check_tasks(tasks: ConfigDict) -> None:
    if not views_of(tasks):
        listed = ", ".join(f"tasks.{name}.weight" for name in names.TASKS)
        raise UserError(f"no task is on: set one of {listed} above 0.")
    for name in (names.MLM, names.MRM):
        _require(0 < tasks[name].rate < 1, f"tasks.{name}.rate", tasks[name].rate, "must be above 0 and below 1")
    for name in names.TASKS:
        _check_schedule(f"tasks.{name}.schedule", tasks[name].schedule)
    _check_contrast(tasks)
    if tasks.context.weight and not tasks.context.width:
        raise UserError(
            "tasks.context.width is 0: set it to how many numbers a vector of <data.train_split>.vectors.npy has, or "
            "tasks.context.weight=0."
        )
    if tasks.combine == "uncertainty" and tasks.wpa.weight:
        raise UserError(
            "tasks.combine=uncertainty weighs losses that are at least 0, which that of tasks.wpa is not: set "
            "tasks.wpa.weight=0, or tasks.combine=sum."
        )
    if tasks.combine == "sample" and len(views_of(tasks)) < 2:
        raise UserError("tasks.combine is 'sample', but one task alone is on: set tasks.combine=sum.")


def _check_contrast(tasks: ConfigDict) -> None:
    itc = tasks.itc
    if itc.momentum and itc.loss == "sigmoid":
        raise UserError("tasks.itc.momentum goes with tasks.itc.loss=softmax, whose targets may be soft.")
    if itc.queue and not itc.momentum:
        raise UserError(
            f"tasks.itc.queue is {itc.queue}, but vectors of earlier batches need tasks.itc.momentum above 0."
        )
    if itc.momentum and not itc.weight:
        raise UserError("tasks.itc.momentum is set, but tasks.itc.weight is 0: set it above 0, or momentum to 0.")


def _check_pairs(config: ConfigDict) -> None:
    """Pairs of images have no other text than their statement."""
    if not config.tasks.nlvr.weight:
        return
    others = [f"tasks.{name}.weight" for name in names.TASKS if name != names.NLVR and config.tasks[name].weight]
    if others:
        raise UserError(
            f"tasks.nlvr is about pairs of images, the other tasks about single ones: set {' and '.join(others)} to 0."
        )
    count = config.data.questions_per_image
    _require(count == 1, "data.questions_per_image", count, "must be 1 with tasks.nlvr: a pair shows one statement")


def _check_regions(config: ConfigDict) -> None:
    """Regions of a detector are read by models that read no pixels, and from files of one's own."""
    data, mrm = config.data, config.tasks.mrm
    of_regions = reads_regions(config.model)
    if of_regions and not data.regions:
        raise UserError(
            "the model reads regions of a detector, but data.regions is 0: set it to the most that an image has room "
            "for, or model.region_patch, in pixels, and the image's patches are its regions."
        )
    if data.regions and not of_regions:
        raise UserError(
            f"data.regions is {data.regions}, but the model of family {config.model.family!r} reads pixels: set "
            "model.region_patch=0, which families on regions have, or data.regions=0."
        )
    if data.regions:
        _require(data.source == names.JSONL, "data.source", data.source, "must be jsonl with data.regions")
        for key in ("flip", "randaugment", "shift"):
            rule = "changes pixels, and with data.regions there are none: set it to False, '' or 0"
            _require(not data[key], f"data.{key}", data[key], rule)
    if not mrm.weight:
        return
    if mrm.target == "kl" and not data.regions:
        raise UserError(
            "tasks.mrm.target is 'kl', a detector's distribution over classes, but the model reads pixels: take "
            "feature or class, or a model that reads regions."
        )
    if data.regions and mrm.target != "feature":
        rule = f"must be the detector's number of classes with tasks.mrm.target={mrm.target}"
        _require(mrm.classes > 0, "tasks.mrm.classes", mrm.classes, rule)


def _check_schedule(key: str, points: tuple) -> None:
    for point in points:
        right = isinstance(point, tuple) and len(point) == 2 and all(type(item) in (int, float) for item in point)
        _require(right, key, points, "must be a tuple of points (step, factor), such as ((0, 0.0), (500, 1.0))")
        _require(point[0] >= 0 and point[1] >= 0, key, points, "must hold no negative step or factor")
    steps = [step for step, _ in points]
    rising = all(before < after for before, after in itertools.pairwise(steps))
    _require(rising, key, points, "must have steps that increase from point to point")


def _check_optim(optim: ConfigDict, steps: int) -> None:
    if optim.warmup_steps > steps:
        raise UserError(f"optim.warmup_steps {optim.warmup_steps} is more than train.steps {steps}; lower it.")
    if optim.final_lr > optim.lr:
        raise UserError(f"optim.final_lr {optim.final_lr} is above optim.lr {optim.lr}; lower it.")
    for pattern in optim.freeze:
        _check_pattern("optim.freeze holds", pattern)


def _check_pattern(what: str, pattern: Any) -> None:
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        raise UserError(f"{what} {pattern!r}, which is not a regular expression: {error}.") from error


def _check_published(published: ConfigDict) -> None:
    rule = "must map metrics to numbers and 'source' to a text, such as {'accuracy': 0.63, 'source': 'A et al. 2020'}"
    for name, model in published.items():
        _require(isinstance(model, ConfigDict), f"published.{name}", model, rule)
        for key, value in model.items():
            kinds, form = ((str,), "text") if key == "source" else ((int, float), "number")
            _require(type(value) in kinds, f"published.{name}.{key}", value, f"must be a {form}")
