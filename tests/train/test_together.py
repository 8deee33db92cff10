"""Six objectives of one model at once: what each adds to the gradient, and the ways to make one objective of them."""

import itertools
import json
from collections.abc import Callable
from contextlib import closing
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

from vlfusion_jax.core import names, rng
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.data.pipeline import train_batches
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.vocabulary import build_vocabulary
from vlfusion_jax.tasks import itc, mlm
from vlfusion_jax.train.combine import drawn_task
from vlfusion_jax.train.objective import make_objective, sums_of, task_scales
from vlfusion_jax.train.setup import build
from vlfusion_jax.train.step import make_train_step
from vlfusion_jax.train.views import run_views

WEIGHTS = {"mlm": 1.5, "itm": 0.5, "itc": 0.8, "wpa": 0.3, "caption": 0.7, "context": 0.9}
WRITTEN = names.key(names.WRITTEN, names.WORD_WEIGHTS)
COLORS = ("red", "green", "blue", "black", "white", "grey")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve images with two captions each, but for two that have none."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "images").mkdir()
    rows, draw = [], np.random.default_rng(0)
    for n in range(12):
        pixels = draw.integers(256, size=(16, 24, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{n}.png")
        color = COLORS[n % 6]
        rows += [{"image": f"{n}.png", "caption": f"{how} {color} thing {n}"} for how in ("a", "the")] * (n % 5 < 4)
    rows += [{"image": f"{n}.png", "question": "what", "answer": "yes"} for n in range(12)]
    vectors = draw.normal(size=(len(rows), 7))
    vectors[3] = np.nan  # a caption without a vector
    np.save(folder / "train.vectors.npy", vectors)
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def config_of(albef_config, folder) -> Callable:
    """Function ({task: weight}, changes) -> config on `folder`; hard pairs, ten images a batch."""

    def make(weights, **changes):
        settings = {
            "data__source": "jsonl", "data__path": str(folder), "data__eval_split": "train", "data__vocab_size": 60,
            "train__batch_size": 10, "tasks__itm__negatives": "hard",
        }  # fmt: skip
        config = albef_config(weights, **settings | changes)
        config.model.decoder_layers = 1  # parameters that are there whether used or not
        return config

    return make


@pytest.fixture(scope="module")
def vocabulary(config_of):
    config = config_of(WEIGHTS)
    return build_vocabulary([open_source(config.data, "train")], config.data, writes_answers=True)


@pytest.fixture(scope="module")
def batch_of(vocabulary) -> Callable:
    """Function (config, step=0) -> batch `step` of the real pipeline."""

    def make(config, step=0):
        source = open_source(config.data, "train")
        with closing(train_batches(config, source, vocabulary, start_step=step)) as batches:
            return {key: jnp.asarray(array) for key, array in next(batches).items()}

    return make


@pytest.fixture(scope="module")
def run(config_of, vocabulary):
    return build(config_of(WEIGHTS), vocabulary, jax.devices()[:1])


def scaled(state):
    """Random parameters, large enough that each task's loss depends on its batch."""
    return jax.tree.map(lambda x: x * 5 if x.ndim > 1 else x, state.params)


@pytest.fixture(scope="module")
def params(run, random_state):
    return scaled(random_state(run))


@pytest.fixture(scope="module")
def gradient(run, params, batch_of):
    """See `gradient_of`."""
    return gradient_of(run, params, batch_of(run.config))


def gradient_of(run, params, batch):
    """Function scales -> ((value, sums), gradient by path), of all tasks on a batch."""
    objective = make_objective(run.model, run.tasks)
    compute = jax.jit(lambda scales: jax.value_and_grad(objective, has_aux=True)(params, batch, scales, KEY))

    def make(scales):
        result, grads = compute(scales)
        return result, flatten(jax.device_get(grads))

    return make


KEY = rng.key(0, names.DROPOUT)


def norm(grads):
    return np.sqrt(sum(np.sum(np.square(grad, dtype=np.float64)) for grad in grads.values()))


def scales_of(run, batch, weights, step=0):
    config = run.config.copy_and_resolve_references()
    for task, weight in weights.items():
        config.tasks[task].weight = weight
    return task_scales(run.tasks, config)(batch, jnp.int32(step))


def some_of(*quick):
    """Every task, a case each: but for the `quick` ones those that repeat the proof are slow."""
    return [task if task in quick else pytest.param(task, marks=pytest.mark.slow) for task in WEIGHTS]


@pytest.mark.parametrize("task", some_of("itm", "itc", "wpa", "context"))
def test_twice_the_weight_is_twice_the_task_s_part(run, gradient, batch_of, config_of, vocabulary, params, task):
    alone = build(config_of({task: WEIGHTS[task]}), vocabulary, jax.devices()[:1])
    check_twice_the_weight(run, alone, gradient, batch_of, params, WEIGHTS, task)


def test_so_it_is_where_answers_are_written(config_of, vocabulary, random_state, batch_of):
    weights = {"mlm": 1.5, "vqa": 0.4, "answer": 0.7}
    run, alone = (build(config_of(each), vocabulary, jax.devices()[:1]) for each in (weights, {"answer": 0.7}))
    params = scaled(random_state(run))
    gradient = gradient_of(run, params, batch_of(run.config))
    check_twice_the_weight(run, alone, gradient, batch_of, params, weights, "answer")


def check_twice_the_weight(run, alone, gradient, batch_of, params, weights, task):
    """The task's part is the gradient of a run of this task alone, by its own objective and batch."""
    batch = batch_of(run.config)
    once, twice = (gradient(scales_of(run, batch, weights | {task: k * weights[task]}))[1] for k in (1, 2))
    own = {name: leaf for name, leaf in params.items() if name in alone.abstract_state.params}
    own_batch, objective = batch_of(alone.config), make_objective(alone.model, alone.tasks)
    scales = task_scales(alone.tasks, alone.config)(own_batch, jnp.int32(0))
    part = flatten(jax.jit(jax.grad(lambda p: objective(p, own_batch, scales, KEY)[0]))(own))
    expected = {path: np.asarray(part[path]) if path in part else np.zeros_like(once[path]) for path in once}
    errors = {path: twice[path] - once[path] - expected[path] for path in once}
    assert 1e-3 < norm(expected) < norm(twice)
    assert norm(errors) < 1e-5 * norm(twice)
    rest = {path: once[path] - expected[path] for path in once}
    others = gradient(scales_of(run, batch, weights | {task: 0.0}))[1]
    assert norm({path: rest[path] - others[path] for path in once}) < 1e-5 * norm(twice)


@pytest.mark.parametrize("left_out", some_of("itm", "itc", "context"))
def test_one_task_less_changes_no_other_s_batch_or_loss(
    run, gradient, batch_of, config_of, vocabulary, params, left_out
):
    batch = batch_of(run.config)
    (_, sums), _ = gradient(scales_of(run, batch, WEIGHTS))
    config = config_of({task: weight for task, weight in WEIGHTS.items() if task != left_out})
    fewer, less = build(config, vocabulary, jax.devices()[:1]), batch_of(config)
    for key, array in less.items():
        np.testing.assert_array_equal(array, batch[key], err_msg=key)
    own = {name: leaf for name, leaf in params.items() if name in fewer.abstract_state.params}
    found = jax.jit(lambda p: sums_of(fewer.tasks, run_views(fewer.model, p, less, fewer.tasks, KEY), less))(own)
    assert {name for name in found if name.endswith("_loss")} == {f"{t}_loss" for t in WEIGHTS if t != left_out}
    for name, (total, weight) in found.items():
        assert float(weight) == float(sums[name][1]) > 0, name
        np.testing.assert_allclose(total, sums[name][0], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("step", [0, 3, 8, 20])
def test_the_objective_is_the_sum_by_weights_and_schedules(run, gradient, batch_of, step):
    schedules = {"itc": ((2, 0.0), (4, 1.0)), "caption": ((0, 1.0), (10, 0.5))}
    factors = {"itc": np.clip((step - 2) / 2, 0, 1), "caption": np.clip(1 - step / 20, 0.5, 1)}
    config, batch = run.config.copy_and_resolve_references(), batch_of(run.config)
    for task, points in schedules.items():
        config.tasks[task].schedule = points
    (value, sums), _ = gradient(task_scales(run.tasks, config)(batch, jnp.int32(step)))
    expected = 0.0
    for task, weight in WEIGHTS.items():
        total, of = (float(x) for x in sums[f"{task}_loss"])
        expected += weight * factors.get(task, 1.0) * total / of
    np.testing.assert_allclose(value, expected, rtol=1e-6)


ALONE = {"mlm": 1.5, "itm": 0.5, "caption": 0.7}  # tasks whose batches may be cut
LOGS = {"mlm": 0.4, "itm": -0.6, "caption": 0.9}


@pytest.fixture(scope="module")
def uncertain(config_of, vocabulary):
    config = config_of(ALONE, tasks__itm__negatives="random", tasks__combine="uncertainty")
    return build(config, vocabulary, jax.devices()[:1])


@pytest.fixture(scope="module")
def stepped(uncertain, random_state) -> Callable:
    """Function (batch, micro-batches) -> (metrics, gradient by path) of a training step from `LOGS`."""
    state = random_state(uncertain)
    logs = {task: jnp.float32(value) for task, value in LOGS.items()}
    state = state.replace(params=state.params | {names.LOG_VARIANCE: logs})

    @cache
    def compiled(parts: int):
        config = uncertain.config.copy_and_resolve_references()
        config.train.micro_batches = parts
        descent = optax.sgd(1.0)
        step = make_train_step(
            uncertain.model, uncertain.tasks, descent, lambda step: 0.0, config, uncertain.grad_shardings
        )
        return jax.jit(step), state.replace(opt_state=descent.init(state.params))

    def make(batch, parts):
        step, start = compiled(parts)
        new, metrics = step(start, batch)
        moved = jax.tree.map(lambda old, new: np.asarray(old, np.float64) - new, start.params, new.params)
        return metrics, flatten(moved)

    return make


@pytest.fixture(scope="module")
def apart(uncertain, random_state) -> Callable:
    """Function batch -> {task: (mean loss, its gradient by path)}, without what weights the tasks."""
    params = {name: leaf for name, leaf in random_state(uncertain).params.items() if name != names.LOG_VARIANCE}
    objective = make_objective(uncertain.model, uncertain.tasks)
    compute = jax.jit(lambda scales, batch: jax.value_and_grad(objective, has_aux=True)(params, batch, scales, KEY))

    def make(batch):
        found = {}
        for task in uncertain.tasks:
            weight = float(task.weight(batch))
            scales = {other.name: float(other.name == task.name) / max(weight, 1e-6) for other in uncertain.tasks}
            (value, _), grads = compute(scales, batch)
            found[task.name] = float(value), flatten(jax.device_get(grads))
        return found

    return make


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("without_captions", [False, True])
def test_uncertainty_is_kendall_s_formula(uncertain, stepped, apart, batch_of, parts, without_captions):
    """Σ λ_t (exp(-s_t) L_t + s_t / 2); a task without items leaves its s_t as it is."""
    batch = batch_of(uncertain.config)
    if without_captions:
        batch = batch | {WRITTEN: np.zeros_like(batch[WRITTEN])}
    metrics, grads = stepped(batch, parts)
    value, expected = 0.0, {}
    for name, (loss, of_task) in apart(batch).items():
        factor = 0.0 if without_captions and name == "caption" else ALONE[name]
        value += factor * (np.exp(-LOGS[name]) * loss + LOGS[name] / 2)
        for path, leaf in of_task.items():
            expected[path] = expected.get(path, 0) + factor * np.exp(-LOGS[name]) * leaf
        expected[f"{names.LOG_VARIANCE}/{name}"] = factor * (0.5 - np.exp(-LOGS[name]) * loss)
        np.testing.assert_allclose(metrics[f"{name}_loss"], loss, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(metrics[f"log_variance_{name}"], LOGS[name], rtol=1e-6)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    assert grads.keys() == expected.keys()
    for path, leaf in grads.items():  # a difference of parameters: exact to their rounding
        np.testing.assert_allclose(leaf, expected[path], atol=3e-6 * max(1, np.abs(expected[path]).max()), err_msg=path)
    of_captions = grads[f"{names.LOG_VARIANCE}/caption"]
    assert (of_captions == 0) == without_captions


def test_log_variances_begin_at_zero_and_are_learned(uncertain, batch_of):
    state = uncertain.init_state()
    assert {name: float(x) for name, x in state.params[names.LOG_VARIANCE].items()} == dict.fromkeys(ALONE, 0)
    lr = uncertain.config.optim.lr
    state, metrics = uncertain.train_step(state, batch_of(uncertain.config))
    for name, log in state.params[names.LOG_VARIANCE].items():
        down = float(metrics[f"{name}_loss"]) < 0.5  # of a loss below a half the weight grows
        np.testing.assert_allclose(log, -lr if down else lr, rtol=1e-3)


@pytest.fixture(scope="module")
def sampled(config_of, vocabulary):
    config = config_of(
        {"mlm": 3, "itc": 2, "caption": 1}, tasks__combine="sample", tasks__caption__schedule=((0, 0.5),)
    )
    return build(config, vocabulary, jax.devices()[:1])


def test_tasks_are_drawn_by_their_weights(sampled):
    draws = 6000
    drawn = np.array([drawn_task(sampled.config, sampled.tasks, step) for step in range(draws)])
    assert [task.name for task in sampled.tasks] == ["mlm", "itc", "caption"]
    for number, share in enumerate((3 / 6, 2 / 6, 1 / 6)):
        assert abs((drawn == number).mean() - share) < 4.5 * np.sqrt(share * (1 - share) / draws)
    pairs = set(itertools.pairwise(drawn.tolist()))
    assert len(pairs) == 9, "one step says nothing of the next"
    # Of seed and step alone: any process, and any that resumes, draws the same.
    later = [drawn_task(sampled.config, sampled.tasks, step) for step in range(500, 600)]
    np.testing.assert_array_equal(later, drawn[500:600])
    other = sampled.config.copy_and_resolve_references()
    other.seed = 1
    assert (np.array([drawn_task(other, sampled.tasks, step) for step in range(100)]) != drawn[:100]).any()


def test_only_the_drawn_task_is_trained(sampled, batch_of, random_state):
    seen = set()
    for step in itertools.count():
        name = sampled.tasks[drawn_task(sampled.config, sampled.tasks, step)].name
        if name in seen:
            continue
        state = random_state(sampled).replace(step=jnp.int32(step))
        before = flatten(jax.device_get(state.params))
        state, metrics = sampled.step_of(step)(state, batch_of(sampled.config, step))
        assert {key for key in metrics if key.endswith("_loss")} == {f"{name}_loss"}
        # The weight decides how often, the schedule how strongly.
        factor = 0.5 if name == "caption" else 1.0
        np.testing.assert_allclose(metrics["loss"], factor * metrics[f"{name}_loss"], rtol=1e-6)
        after = flatten(jax.device_get(state.params))
        moved = {path.split("/")[0] for path in before if np.abs(after[path] - before[path]).max() > 1e-4}
        heads = {"mlm": "head_mlm", "itc": "head_contrastive", "caption": "head_caption"}
        assert {head for head in moved if head.startswith("head_")} == {heads[name]}
        seen.add(name)
        if len(seen) == 3:
            break


def test_evaluation_is_of_all_tasks(sampled, batch_of, random_state):
    sums = sampled.eval_step(random_state(sampled).params, batch_of(sampled.config))
    assert {name for name in sums if name.endswith("_loss")} == {"mlm_loss", "itc_loss", "caption_loss"}
    batch = batch_of(sampled.config)
    for name, weights in (("mlm", mlm.WEIGHTS), ("itc", itc.WEIGHT), ("caption", WRITTEN)):
        assert float(sums[f"{name}_loss"][1]) == batch[weights].sum() > 0
