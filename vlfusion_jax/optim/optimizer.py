"""AdamW with parameter groups chosen by path."""

import re
from typing import Any

import jax
import optax

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import flatten, path_name
from vlfusion_jax.optim.bounds import bounds_of, within
from vlfusion_jax.optim.schedules import Schedule, learning_rate

# BERT, ViT and every fusion model since: no decay on biases and norms (here also gains of standardised kernels, the
# stored statistics of batch normalisation, which nothing else moves, and what scales contrasts and weights tasks).
NO_DECAY = re.compile(rf"(^|/)(bias|scale|gain|mean|variance|log_scale|temperature)(_\d+)?$|^{names.LOG_VARIANCE}/")
HEAD = re.compile(rf"(^|/){names.HEAD}")


def _map_paths(function: Any, params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, _: function(path_name(path)), params)


def lr_schedule(config: Any) -> Schedule:
    """Learning rate of `config` (a run configuration) by step, before group multipliers."""
    optim = config.optim
    return learning_rate(optim.schedule, optim.lr, optim.final_lr, optim.warmup_steps, config.train.steps)


def make_optimizer(config: Any, params: Any) -> optax.GradientTransformation:
    """AdamW (Loshchilov and Hutter 2019) with clipping by global norm, warm-up and decay.

    Groups by path: no weight decay on biases and norms, `optim.head_lr_multiplier` on heads, and parameters matching
    one of `optim.freeze` neither move nor hold moments nor count in the gradient norm that is clipped.

    Args:
      config: run configuration, see `config.schema`.
      params: (abstract) parameters, for their paths.

    Raises:
      UserError: where a pattern of `optim.freeze` matches no parameter, or all are frozen.
    """
    optim = config.optim
    paths = list(flatten(params))
    for pattern in optim.freeze:
        if not any(re.search(pattern, path) for path in paths):
            raise UserError(f"optim.freeze: {pattern!r} matches no parameter; they are named like {paths[0]!r}.")
    frozen = _map_paths(lambda path: any(re.search(pattern, path) for pattern in optim.freeze), params)
    if all(jax.tree.leaves(frozen)):
        raise UserError(f"optim.freeze: {tuple(optim.freeze)} freezes every parameter; nothing is left to train.")
    multiplier = _map_paths(lambda path: optim.head_lr_multiplier if HEAD.search(path) else 1.0, params)
    decayed = _map_paths(lambda path: not NO_DECAY.search(path), params)
    steps = [
        optax.clip_by_global_norm(optim.clip_norm) if optim.clip_norm else optax.identity(),
        optax.scale_by_adam(optim.b1, optim.b2, optim.eps),
        optax.add_decayed_weights(optim.weight_decay, mask=lambda tree: _matching(decayed, tree)),
        optax.stateless(lambda updates, _: jax.tree.map(lambda u, m: u * m, updates, _matching(multiplier, updates))),
        optax.scale_by_learning_rate(lr_schedule(config)),
    ]
    if bounds := bounds_of(paths):
        steps.append(within(bounds))
    labels = jax.tree.map(lambda f: "frozen" if f else "trained", frozen)
    return optax.partition({"trained": optax.chain(*steps), "frozen": optax.set_to_zero()}, labels)


def _matching(values: Any, tree: Any) -> Any:
    """`values` where `tree` has leaves; partitioning replaces the other groups' leaves by empty nodes."""
    return jax.tree.map(
        lambda leaf, value: leaf if isinstance(leaf, optax.MaskedNode) else value,
        tree,
        values,
        is_leaf=lambda leaf: isinstance(leaf, optax.MaskedNode),
    )
