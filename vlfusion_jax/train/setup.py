"""From a configuration and a vocabulary to everything a run is made of, with nothing allocated yet."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from vlfusion_jax.config.keys import nearest
from vlfusion_jax.core import names, rng
from vlfusion_jax.core.compiler import UPDATES, compiler_options
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.partitioned import unbox
from vlfusion_jax.core.precision import COMPUTE_DTYPES
from vlfusion_jax.data.pipeline import batch_shapes
from vlfusion_jax.data.vocabulary import Vocabulary
from vlfusion_jax.layers.attention import attention_by
from vlfusion_jax.layers.block import Stage
from vlfusion_jax.models.families.table import model_spec
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.inputs import input_shapes
from vlfusion_jax.models.spec.model import ModelSpec
from vlfusion_jax.ops.fused_attention import KERNELS
from vlfusion_jax.optim.optimizer import lr_schedule, make_optimizer
from vlfusion_jax.parallel.audit import AuditRow, audit, check_replication
from vlfusion_jax.parallel.loading import load_strategy
from vlfusion_jax.parallel.placement import param_shardings, state_shardings, with_shardings
from vlfusion_jax.parallel.strategy import Strategy
from vlfusion_jax.tasks.build import build_tasks
from vlfusion_jax.tasks.task import Batch, Task
from vlfusion_jax.train import momentum
from vlfusion_jax.train.arithmetic import update_flops
from vlfusion_jax.train.combine import drawn_task, log_variances
from vlfusion_jax.train.objective import Sums
from vlfusion_jax.train.state import TrainState
from vlfusion_jax.train.step import TrainStep, make_eval_step, make_train_step
from vlfusion_jax.train.views import heads_of, view_inputs


@dataclass(frozen=True)
class Run:
    """A run, ready to start.

    Attributes:
      config: resolved configuration.
      vocabulary: tokenizer and answers.
      strategy: mesh and sharding rules.
      model: linen module.
      tasks: objectives.
      audit: where the parameters' bytes go.
      abstract_state: shapes of the train state, with shardings.
      grad_shardings: of the gradients, a tree like the parameters.
      init_state: () → a fresh, sharded state.
      start_from: (state, parameters) → the state that begins at these parameters, with all that follows from them.
      train_step: (state, batch) → (state, metrics); jitted, the old state is donated. Of all tasks, but see `step_of`.
      task_steps: one of each task alone, where a task is drawn for each step; else empty.
      eval_step: (params, batch) → {metric: (sum, weight)}; jitted.
      predict_step: (params, batch) → logits of answers [rows, padded answers], or of verdicts [pairs, 2]; jitted.
      flops_per_step: analytic FLOPs of an update, see `arithmetic.update_flops`.
    """

    config: Any
    vocabulary: Vocabulary
    strategy: Strategy
    model: FusionModel
    tasks: tuple[Task, ...]
    audit: list[AuditRow]
    abstract_state: TrainState
    grad_shardings: Any
    init_state: Callable[[], TrainState]
    start_from: Callable[[TrainState, Any], TrainState]
    train_step: TrainStep
    task_steps: tuple[TrainStep, ...]
    eval_step: Callable[[Any, Batch], Sums]
    predict_step: Callable[[Any, Batch], jax.Array]
    flops_per_step: int

    def step_of(self, step: int) -> TrainStep:
        """What makes update number `step`."""
        return self.task_steps[drawn_task(self.config, self.tasks, step)] if self.task_steps else self.train_step

    @property
    def batch_sharding(self) -> jax.sharding.NamedSharding:
        return self.strategy.batch_sharding


def build(config: Any, vocabulary: Vocabulary, devices: Sequence[jax.Device] | None = None) -> Run:
    """Puts a run together and checks that it can be sharded as asked.

    Args:
      config: resolved and validated configuration.
      vocabulary: see `data.vocabulary`.
      devices: devices to run on; default all.

    Raises:
      UserError: naming the parameter or key, where strategy, model and batch do not fit each other.
    """
    strategy = load_strategy(config.sharding, devices)
    _check_batches(config, strategy)
    spec = model_spec(config, vocabulary.size, len(vocabulary.answers))
    _check_attention(config, spec, strategy)
    model = FusionModel(spec, COMPUTE_DTYPES[config.precision.compute])
    tasks = build_tasks(config.tasks, spec, vocabulary.size, len(vocabulary.answers), vocabulary.kinds)
    heads = heads_of(tasks)

    def init_params(key: jax.Array) -> Any:
        zeros = {name: jnp.zeros(s.shape, s.dtype) for name, s in input_shapes(spec.inputs, rows=2).items()}
        params = model.init({"params": key}, zeros, heads)["params"]
        return params | log_variances(tasks) if config.tasks.combine == "uncertainty" else params

    boxed = jax.eval_shape(init_params, rng.key(config.seed, names.PARAMS))
    shardings = param_shardings(boxed, strategy)
    rows = audit(boxed, shardings)
    check_replication(rows, config.audit.max_replicated_kib, strategy.mesh.size, strategy.name)
    optimizer = make_optimizer(config, unbox(boxed))

    def extras_of(params: Any) -> dict[str, Any]:
        return momentum.started(config, model, params) if momentum.is_on(config) else {}

    def init(key: jax.Array) -> TrainState:
        params = unbox(init_params(key))
        return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), extras_of(params))

    abstract = jax.eval_shape(init, rng.key(config.seed, names.PARAMS))
    of_grads = param_shardings(boxed, strategy.of_optimizer())
    extras = {
        name: shardings if name == momentum.PARAMS else jax.tree.map(lambda _: strategy.replicated, tree)
        for name, tree in abstract.extras.items()
    }
    placed = TrainState(strategy.replicated, shardings, state_shardings(abstract.opt_state, of_grads, strategy), extras)

    def jitted_step(tasks: Sequence[Task]) -> TrainStep:
        step = make_train_step(model, tasks, optimizer, lr_schedule(config), config, of_grads)
        step = momentum.with_momentum(step, model, tasks, config) if momentum.is_on(config) else step
        return jax.jit(
            _activated(strategy, config.attention, step),
            donate_argnums=0,
            out_shardings=(placed, strategy.replicated),
            compiler_options=compiler_options(UPDATES, strategy.mesh.devices.flat[0].platform),
        )

    eval_step = _activated(strategy, config.attention, make_eval_step(model, tasks))

    view, head = (names.STATEMENT, names.NLVR) if names.NLVR in heads else (names.QUESTION, names.VQA)

    def predict(params: Any, batch: Batch) -> jax.Array:
        return model.apply({"params": params}, view_inputs(batch, view), (head,)).logits[head]

    return Run(
        config=config,
        vocabulary=vocabulary,
        strategy=strategy,
        model=model,
        tasks=tasks,
        audit=rows,
        abstract_state=with_shardings(abstract, placed),
        grad_shardings=of_grads,
        init_state=lambda: jax.jit(init, out_shardings=placed)(rng.key(config.seed, names.PARAMS)),
        start_from=lambda state, params: state.replace(
            params=params, extras=jax.jit(extras_of, out_shardings=extras)(params)
        ),
        train_step=jitted_step(tasks),
        task_steps=tuple(jitted_step((task,)) for task in tasks) if config.tasks.combine == "sample" else (),
        eval_step=jax.jit(eval_step, out_shardings=strategy.replicated),
        predict_step=jax.jit(_activated(strategy, config.attention, predict), out_shardings=strategy.replicated),
        flops_per_step=update_flops(config, spec),
    )


def check_best_metric(run: Run, others: Sequence[str] = ()) -> None:
    """Raise UserError unless `checkpoint.best_metric` is a metric of the tasks, or of `others`; nothing is computed."""
    wanted = run.config.checkpoint.best_metric
    if wanted:
        batch = batch_shapes(run.config, run.vocabulary)
        known = sorted([*jax.eval_shape(run.eval_step, run.abstract_state.params, batch), *others])
        if wanted not in known:
            raise UserError(
                f"checkpoint.best_metric is {wanted!r}; the evaluation has {', '.join(known)}.{nearest(wanted, known)}"
            )


def _activated(strategy: Strategy, attention: str, function: Callable) -> Callable:
    """`function`, traced with the strategy's rules in force, and attention computed as chosen."""

    def traced(*args: Any) -> Any:
        with strategy.activate(), attention_by(attention):
            return function(*args)

    traced.__name__ = getattr(function, "__name__", "function")
    return traced


def _check_batches(config: Any, strategy: Strategy) -> None:
    parts, micro = strategy.batch_parts, config.train.micro_batches
    sizes: Mapping[str, int] = {
        "train.batch_size": config.train.batch_size,
        "eval.batch_size": config.eval.batch_size,
    }
    for name, size in sizes.items():
        split = parts * micro if name.startswith("train") else parts
        if size % split:
            by = f"{parts} devices of the batch axes" + (f" × {micro} micro-batches" if split != parts else "")
            raise UserError(f"{name}={size} does not divide by {split} ({by}, sharding {strategy.name!r}).")


def _check_attention(config: Any, spec: ModelSpec, strategy: Strategy) -> None:
    """Refuses what a kernel of one platform cannot do; nothing else is taken in its place."""
    if config.attention not in KERNELS:
        return
    wanted, _ = KERNELS[config.attention]
    here, what = strategy.mesh.devices.flat[0].platform, f"attention={config.attention!r}"
    if here != wanted:
        raise UserError(f"{what} runs on a {wanted}, these devices are {here}: set attention=xla.")
    if config.attention == "cudnn" and config.precision.compute != "bfloat16":
        raise UserError(f"{what} computes in 16 bits: set precision.compute=bfloat16, or attention=xla.")
    tables = [strategy, *map(strategy.of_part, strategy.parts)]
    if any(table.parts_of(axis) > 1 for table in tables for axis in (names.SEQUENCE, names.HEAD_DIM)):
        raise UserError(f"{what} sees whole sequences and heads, which {strategy.name!r} splits: set attention=xla.")
    stages = [step for step in spec.steps if isinstance(step, Stage)]
    if any(stage.ordered for stage in stages):
        raise UserError(f"{what} knows of no mask for each query: set model.prefix_lm=False, or attention=xla.")
    if any(block.attention_dropout for stage in stages for block in stage.blocks):
        raise UserError(f"{what} drops no attention weights: set model.attention_dropout=0, or attention=xla.")
