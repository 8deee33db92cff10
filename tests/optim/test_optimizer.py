"""AdamW with its groups, over several steps, against PyTorch's."""

import jax
import numpy as np
import optax
import pytest
import torch

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import flatten
from vlfusion_jax.optim.optimizer import lr_schedule, make_optimizer

STEPS = 8
SHAPES = {
    "stage_0": {"mlp": {"kernel": (4, 6), "bias": (6,)}, "norm": {"scale": (5,), "bias": (5,)}},
    "words": {"table": (7, 3)},
    "head_vqa": {"answers": {"kernel": (3, 2), "bias": (2,)}},
}


def random_tree(seed: int, scale: float = 1.0):
    rng = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        return (scale * rng.normal(size=shape)).astype(np.float32)

    return jax.tree.map(draw, SHAPES, is_leaf=lambda leaf: isinstance(leaf, tuple))


def make_config(**optim):
    config = default_config()
    config.train.steps = STEPS
    config.optim.update(
        {"lr": 0.05, "schedule": "linear", "warmup_steps": 3, "weight_decay": 0.1, "clip_norm": 1.5} | optim
    )
    return config


def gradients(step: int):
    """Large at some steps and small at others, so that clipping acts on some only."""
    return random_tree(100 + step, (0.01, 1.0, 0.1)[step % 3])


def train(config, params):
    optimizer = make_optimizer(config, params)
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    for step in range(STEPS):
        updates, state = update(gradients(step), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def train_torch(config, params, frozen=()):
    """The same groups, spelt out by hand."""
    optim = config.optim
    tensors = {path: torch.tensor(value, requires_grad=path not in frozen) for path, value in flatten(params).items()}
    groups = []
    for path, tensor in tensors.items():
        if path not in frozen:
            decay = 0.0 if path.endswith(("bias", "scale")) else optim.weight_decay
            groups.append({"params": [tensor], "weight_decay": decay, "head": path.startswith("head_")})
    adam = torch.optim.AdamW(groups, lr=1.0, betas=(optim.b1, optim.b2), eps=optim.eps)
    trained = [group["params"][0] for group in groups]
    norms = []
    for step in range(STEPS):
        for path, value in flatten(gradients(step)).items():
            if path not in frozen:
                tensors[path].grad = torch.tensor(value)
        if optim.clip_norm:
            norms.append(float(torch.nn.utils.clip_grad_norm_(trained, optim.clip_norm)))
        lr = optim.lr * (step / 3 if step < 3 else 1 - (step - 3) / (STEPS - 3))
        for group in adam.param_groups:
            group["lr"] = lr * (optim.head_lr_multiplier if group["head"] else 1.0)
        adam.step()
    return {path: tensor.detach().numpy() for path, tensor in tensors.items()}, norms


@pytest.mark.parametrize("clip_norm", [1.5, 0.0])
@pytest.mark.parametrize("multiplier", [1.0, 5.0])
def test_equals_torch(clip_norm, multiplier):
    config, params = make_config(clip_norm=clip_norm, head_lr_multiplier=multiplier), random_tree(0)
    ours, _ = train(config, params)
    expected, norms = train_torch(config, params)
    if clip_norm:
        assert min(norms) < clip_norm < max(norms)
    for path, value in flatten(ours).items():
        np.testing.assert_allclose(value, expected[path], atol=2e-6, err_msg=path)
        assert np.abs(value - flatten(params)[path]).max() > 0.01


def test_the_groups_matter():
    params = random_tree(0)
    plain = flatten(train(make_config(), params)[0])
    undecayed = flatten(train(make_config(weight_decay=0.0), params)[0])
    moved = {path for path in plain if np.abs(plain[path] - undecayed[path]).max() > 1e-4}
    assert moved == {"stage_0/mlp/kernel", "words/table", "head_vqa/answers/kernel"}


def test_frozen_parameters_stay_and_hold_no_moments():
    config, params = make_config(freeze=(r"^stage_0/", "table$")), random_tree(0)
    frozen = {path for path in flatten(params) if path.startswith("stage_0/") or path.endswith("table")}
    ours, state = train(config, params)
    expected, _ = train_torch(config, params, frozen)
    for path, value in flatten(ours).items():
        if path in frozen:
            np.testing.assert_array_equal(value, flatten(params)[path])
        else:
            # Not counted in the norm that is clipped: the others move as if they were alone.
            np.testing.assert_allclose(value, expected[path], atol=2e-6, err_msg=path)
    held = [path for path, leaf in flatten(state).items() if leaf.ndim]
    assert held
    assert all("head_vqa" in path for path in held)


def test_the_schedule_reported_is_the_one_applied():
    config, params = make_config(clip_norm=0.0, weight_decay=0.0), random_tree(0)
    optimizer, schedule = make_optimizer(config, params), lr_schedule(config)
    state = optimizer.init(params)
    ones = jax.tree.map(np.ones_like, params)
    for step in range(STEPS):
        updates, state = optimizer.update(ones, state, params)
        # Of equal gradients Adam makes steps of one learning rate.
        np.testing.assert_allclose(updates["words"]["table"], -schedule(step), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("patterns", "message"),
    [(("^stage_0/", "^stage_9/"), "'\\^stage_9/' matches no parameter"), ((".",), "freezes every parameter")],
)
def test_patterns_must_mean_something(patterns, message):
    with pytest.raises(UserError, match=message):
        make_optimizer(make_config(freeze=patterns), random_tree(0))
