"""Losses per item, in f32: nothing is averaged here, so that weights are never lost on the way."""

import jax
import jax.numpy as jnp


def cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax cross-entropy with integer labels.

    Args:
      logits: [..., classes].
      labels: [...] integers in [0, classes).

    Returns:
      [...] f32, in nats.
    """
    logits = logits.astype(jnp.float32)
    picked = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - picked


def smoothed_cross_entropy(logits: jax.Array, labels: jax.Array, smoothing: float, classes: int) -> jax.Array:
    """Softmax cross-entropy against labels of which a share is spread evenly (Szegedy et al. 2016, section 7).

    Args:
      logits: [..., at least classes]; those beyond `classes` only pad the table and are far below the others.
      labels: [...] integers in [0, classes).
      smoothing: share of a label that is spread over all classes.
      classes: how many.

    Returns:
      [...] f32, in nats.
    """
    logits = logits.astype(jnp.float32)
    mean = logits[..., :classes].mean(-1)
    even = jax.nn.logsumexp(logits, axis=-1) - mean
    return (1 - smoothing) * cross_entropy(logits, labels) + smoothing * even


def sparse_soft_cross_entropy(logits: jax.Array, ids: jax.Array, scores: jax.Array) -> jax.Array:
    """Softmax cross-entropy against the few classes listed, their scores normalised to one.

    Args:
      logits: [rows, classes].
      ids: [rows, listed] integers; `scores`: [rows, listed], zero where nothing is listed.

    Returns:
      [rows] f32; zero where no score is positive.
    """
    logits = logits.astype(jnp.float32)
    share = scores / jnp.maximum(scores.sum(-1, keepdims=True), 1e-9)
    log_probs = jnp.take_along_axis(logits, ids, axis=-1) - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    return -(share * log_probs).sum(-1)


def sparse_binary_cross_entropy(logits: jax.Array, ids: jax.Array, scores: jax.Array, valid: jax.Array) -> jax.Array:
    """Sigmoid cross-entropy summed over the classes, with soft targets for the few classes listed.

    The VQA loss of ViLT, UNITER and LXMERT: BCE averaged over the answers, times their number. With t the target,
    BCE(x, t) = softplus(x) - t x, so the dense target matrix is never built.

    Args:
      logits: [rows, classes].
      ids: [rows, listed] integers; `scores`: [rows, listed] in [0, 1], zero where nothing is listed.
      valid: [classes], non-zero for classes that exist (the rest pads the table).

    Returns:
      [rows] f32.
    """
    logits = logits.astype(jnp.float32)
    negatives = jnp.where(valid > 0, jax.nn.softplus(logits), 0).sum(-1)
    return negatives - (scores * jnp.take_along_axis(logits, ids, axis=-1)).sum(-1)


def soft_cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Softmax cross-entropy against a distribution.

    Args:
      logits: [..., classes].
      targets: [..., classes], which sum to one; zero where a class only pads the table.

    Returns:
      [...] f32, in nats.
    """
    return -(targets.astype(jnp.float32) * jax.nn.log_softmax(logits.astype(jnp.float32))).sum(-1)


def kl_divergence(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence KL(targets ‖ softmax(logits)): `soft_cross_entropy` less the targets' own entropy.

    Args:
      logits: [..., classes]; those that are log-probabilities already are their own softmax.
      targets: [..., classes], which sum to one; zero where a class only pads the table.

    Returns:
      [...] f32, in nats.
    """
    targets = targets.astype(jnp.float32)
    return soft_cross_entropy(logits, targets) + jax.scipy.special.xlogy(targets, targets).sum(-1)


def squared_error(predicted: jax.Array, targets: jax.Array) -> jax.Array:
    """Squared error, a mean over the last dim: [..., dim] twice → [...] f32."""
    return jnp.square(predicted.astype(jnp.float32) - targets.astype(jnp.float32)).mean(-1)


def smooth_l1(predicted: jax.Array, targets: jax.Array, beta: float = 1.0) -> jax.Array:
    """Huber's loss over beta (Girshick 2015, "Fast R-CNN", eq. 3), a mean over the last dim.

    Args:
      predicted, targets: [..., dim].
      beta: error from which on the loss is linear.

    Returns:
      [...] f32.
    """
    error = jnp.abs(predicted.astype(jnp.float32) - targets.astype(jnp.float32))
    return jnp.where(error < beta, 0.5 * error**2 / beta, error - 0.5 * beta).mean(-1)
