"""Model outputs that are nothing but logits, and references in float64."""

from collections.abc import Callable

import jax
import numpy as np
import pytest

from vlfusion_jax.models.output import FusionOutput


@pytest.fixture(scope="session")
def output_of() -> Callable[..., FusionOutput]:
    """Function logits by head -> output."""
    return lambda **logits: FusionOutput(None, None, None, None, None, logits, {}, {}, {}, {}, {})


@pytest.fixture(scope="session")
def log_softmax() -> Callable[[np.ndarray], np.ndarray]:
    """Function logits -> log of the softmax over the last dim, in float64."""

    def compute(logits: np.ndarray) -> np.ndarray:
        shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
        return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))

    return compute


@pytest.fixture(scope="session")
def check_nothing_counts() -> Callable:
    """Function (task, output, batch whose weights are 0): sums, weights and the gradient of the loss are 0."""

    def check(task, output, batch) -> None:
        def loss(logits):
            return task.loss(output.replace(logits={task.name: logits}), batch)

        assert float(task.weight(batch)) == 0
        value, grad = jax.value_and_grad(loss)(output.logits[task.name])
        assert float(value) == 0
        assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(grad))
        for total, weight in task.metrics(output, batch).values():
            assert float(total) == float(weight) == 0

    return check
