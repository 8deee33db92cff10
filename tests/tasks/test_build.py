"""Tasks are those of positive weight, on a model that has what they read."""

import jax
import jax.numpy as jnp
import pytest

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.context import with_context
from vlfusion_jax.models.families.given import ANY_GIVEN
from vlfusion_jax.models.families.masked_regions import with_masked_regions
from vlfusion_jax.models.families.table import FAMILIES, hyperparameters
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.inputs import input_shapes
from vlfusion_jax.models.spec.streams import IMAGE
from vlfusion_jax.models.steps import stream_widths
from vlfusion_jax.tasks.build import build_tasks


def spec_of(family: str, **changes):
    return FAMILIES[family].spec(hyperparameters(family, "tiny", **changes), ANY_GIVEN)


def zeros(shapes):
    return {name: jnp.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()}


def tasks_of(*chosen: str):
    tasks = default_config().tasks
    for name in names.TASKS:
        tasks[name].weight = 0.5 if name in chosen else 0.0
    return tasks


@pytest.mark.parametrize(
    "chosen",
    [
        ("mlm",),
        ("itm", "vqa"),
        ("mlm", "itm", "vqa"),
        ("itc", "wpa", "caption", "context"),
        ("vqa", "answer"),
    ],
)
@pytest.mark.parametrize("negatives", ["random", "hard"])
def test_tasks_of_positive_weight(chosen, negatives):
    tasks = tasks_of(*chosen)
    tasks.vqa.loss, tasks.itm.negatives, tasks.context.loss = "ce", negatives, "cosine"
    reads = "question" if "answer" in chosen else "image"
    spec = with_context(spec_of("albef", decoder_layers=1, decoder_reads=reads), 7)
    built = {task.name: task for task in build_tasks(tasks, spec, 9, 5, ("a", "b"))}
    assert set(built) == set(chosen)
    pairs = names.HARD if negatives == "hard" else names.MATCH
    views = {
        "mlm": "masked", "itm": pairs, "itc": "plain", "wpa": pairs, "caption": "written", "vqa": "question",
        "context": "reference", "answer": "answered",
    }  # fmt: skip
    assert {name: task.view for name, task in built.items()} == {name: views[name] for name in chosen}
    if "vqa" in chosen:
        assert (built["vqa"].answers, built["vqa"].kinds, built["vqa"].criterion) == (5, ("a", "b"), "ce")
    if "caption" in chosen:
        assert built["caption"].vocab == 9
        assert built["wpa"].image_class_token
        assert built["context"].criterion == "cosine"


@pytest.mark.parametrize(
    ("family", "task", "message"),
    [
        ("vilt", "itc", "tasks.itc reads head 'contrastive'"),
        ("albef", "caption", "tasks.caption reads head 'caption' .albef's with model.decoder_layers and"),
        (
            "albef",
            "answer",
            "tasks.answer reads head 'answer' .blip's of model.variant vqa, albef's with model.decoder",
        ),
        ("clip", "mlm", "tasks.mlm reads head 'mlm'"),
        ("albef", "nlvr", "tasks.nlvr reads head 'nlvr'"),
    ],
)
def test_a_model_without_the_head_is_refused(family, task, message):
    with pytest.raises(UserError, match=message):
        build_tasks(tasks_of(task), spec_of(family), 9, 5, ())


def test_hidden_regions_are_those_of_the_model():
    tasks = tasks_of("mrm", "vqa")
    tasks.mrm.target, tasks.mrm.loss = "class", "smooth_l1"
    spec = with_masked_regions(spec_of("vilt"), tasks.mrm)
    vqa, mrm = build_tasks(tasks, spec, 9, 5, ())
    assert (vqa.view, mrm.view, mrm.heads) == (names.QUESTION, names.MASKED_IMAGE, (names.MRM,))
    assert (mrm.image, mrm.target, mrm.predicted, mrm.criterion) == (
        spec.input(IMAGE), "class", "class", "smooth_l1"
    )  # fmt: skip


def test_hard_pairs_need_a_contrastive_head():
    tasks = tasks_of("itm")
    tasks.itm.negatives = "hard"
    with pytest.raises(UserError, match=r"tasks.itm reads head 'contrastive'"):
        build_tasks(tasks, spec_of("vilt"), 9, 5, ())


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("albef", {"image_width": 48}, "text has 32, its image 48"),
        ("vit", {}, "text has none, its image"),
        ("bert", {}, "its image none"),
    ],
)
def test_words_and_patches_are_compared_where_they_are_as_wide(family, changes, message):
    with pytest.raises(UserError, match=f"tasks.wpa compares words with patches.*{message}"):
        build_tasks(tasks_of("wpa"), spec_of(family, **changes), 9, 5, ())


@pytest.mark.parametrize("family", FAMILIES)
def test_widths_are_those_of_the_tokens(family):
    spec = spec_of(family)
    model, inputs = FusionModel(spec), input_shapes(spec.inputs, rows=2)
    output, _ = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), zeros(inputs)))
    widths = stream_widths(spec)
    for stream, tokens in ((spec.text, output.text), (spec.image, output.image)):
        if tokens is not None:
            assert tokens.shape[-1] == widths[stream], stream
        else:
            assert stream not in widths


def test_pairs_by_sigmoid_need_a_bias():
    tasks = tasks_of("itc")
    tasks.itc.loss = "sigmoid"
    with pytest.raises(UserError, match=r"tasks.itc.loss is 'sigmoid'.*choose family siglip"):
        build_tasks(tasks, spec_of("albef"), 9, 5, ())
    assert build_tasks(tasks, spec_of("siglip"), 9, 5, ())[0].criterion == "sigmoid"
