"""A run whose model is one matrix: enough for the loop and its checkpoints, compiled in a moment."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from vlfusion_jax.config.schema import default_config
from vlfusion_jax.data.vocabulary import Vocabulary
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.train.state import TrainState

ROWS, WIDTH = 8, 16


def make_run(devices: int = 1, **changes) -> SimpleNamespace:
    """Fits a matrix to another, rows of the matrix over the devices; `changes` as `train__steps=3`."""
    config = default_config()
    config.model = hyperparameters("single_stream")
    config.update_from_flattened_dict({key.replace("__", "."): value for key, value in changes.items()})
    mesh = jax.make_mesh((devices,), ("data",), (AxisType.Auto,), devices=jax.devices()[:devices])
    rows, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    optimizer = optax.adam(config.optim.lr)

    def init() -> TrainState:
        key = jax.random.key(config.seed)
        params = {"encoder": {"kernel": jax.random.normal(key, (WIDTH, 4))}, "head_vqa": {"bias": jnp.zeros(4)}}
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))

    def loss(params, batch):
        return jnp.mean((batch["x"] @ params["encoder"]["kernel"] + params["head_vqa"]["bias"] - batch["y"]) ** 2)

    def step(state, batch):
        value, grads = jax.value_and_grad(loss)(state.params, batch)
        updates, opt_state = optimizer.update(grads, state.opt_state)
        new = TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)
        return new, {"loss": value, "vqa_loss": value, "accuracy": 1 / (1 + value), "grad_norm": optax.tree.norm(grads)}

    abstract = jax.eval_shape(init)
    placed = jax.tree.map(lambda leaf: rows if leaf.shape[:1] == (WIDTH,) else whole, abstract)
    run = SimpleNamespace(
        config=config,
        vocabulary=Vocabulary("{}", ("no", "yes"), ()),
        strategy=SimpleNamespace(name="dp", mesh=mesh),
        audit=[],
        batch_sharding=rows,
        flops_per_step=1,
        abstract_state=jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), abstract, placed
        ),
        init_state=jax.jit(init, out_shardings=placed),
        train_step=jax.jit(step, donate_argnums=0, out_shardings=(placed, whole)),
        eval_step=jax.jit(lambda params, batch: {"vqa_loss": (loss(params, batch) * ROWS, jnp.float32(ROWS))}),
    )
    run.step_of = lambda step: run.train_step
    run.start_from = lambda state, params: state.replace(params=params)
    return run


def batches_from(start: int) -> Iterator[dict[str, np.ndarray]]:
    """Batch s is a function of s."""
    step = start
    while True:
        x = np.random.default_rng(step).normal(size=(ROWS, WIDTH)).astype(np.float32)
        yield {"x": x, "y": x[:, :4] * 2}
        step += 1


@pytest.fixture
def tiny_run() -> Callable[..., SimpleNamespace]:
    return make_run


@pytest.fixture
def tiny_batches() -> Callable[[int], Iterator[dict[str, np.ndarray]]]:
    return batches_from
