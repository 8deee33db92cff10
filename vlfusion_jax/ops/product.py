"""Products with parameters, their gradients in the parameter's own layout."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

SumOfRows = Callable[[jax.Array, jax.Array], jax.Array]


def _as_it_is(x: Any) -> Any:
    return x


@partial(jax.custom_vjp, nondiff_argnums=(0, 3, 4))
def product(
    equation: str,
    x: jax.Array,
    kernel: jax.Array,
    gathered: Callable[[jax.Array], jax.Array] = _as_it_is,
    over_devices: Callable[[SumOfRows], SumOfRows] = _as_it_is,
) -> jax.Array:
    """`jnp.einsum(equation, x, kernel)`: `x` [rows..., in...], `kernel` [in..., out...], the result [rows..., out...].

    The numbers are those of the einsum. Its own transpose rule emits the kernel's gradient transposed and turns it
    round afterwards, which costs XLA:CPU a strided copy of all activations: the gradient of a small MLP took 1.5 times
    as long.

    Args:
      equation: of the einsum.
      x, kernel: its operands.
      gathered: what makes the kernel whole, in each pass again.
      over_devices: what makes of a function of two arrays that sums over their rows one that sums over those of all
        devices; it is applied to the one that gives the kernel's gradient.
    """
    return jnp.einsum(equation, x, gathered(kernel))


def _forward(
    equation: str, x: jax.Array, kernel: jax.Array, gathered: Callable, over_devices: Callable
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    # Written out: policies of recomputation do not see the products within `product`.
    return jnp.einsum(equation, x, gathered(kernel)), (x, kernel)


def _backward(
    equation: str,
    gathered: Callable,
    over_devices: Callable,
    saved: tuple[jax.Array, jax.Array],
    grad: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    of_x, of_kernel, result = equation.replace("->", ",").split(",")
    return (
        jnp.einsum(f"{result},{of_kernel}->{of_x}", grad, gathered(kernel)),
        over_devices(partial(_gradient, equation))(x, grad),
    )


product.defvjp(_forward, _backward)


def _gradient(equation: str, x: jax.Array, grad: jax.Array) -> jax.Array:
    return jax.lax.platform_dependent(
        x, grad, cpu=partial(gradient_by_matrices, equation), default=partial(gradient_by_einsum, equation)
    )


@jax.custom_vjp
def table_product(table: jax.Array, x: jax.Array) -> jax.Array:
    """Product of `x` [..., width] with every row of `table` [rows, width]: [..., rows] in f32.

    The gradient of the result enters the backward pass in the dtype of `x`: left in f32 it makes slow products.
    """
    return jnp.einsum("...d,vd->...v", x, table, preferred_element_type=jnp.float32)


def _table_forward(table: jax.Array, x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return table_product(table, x), (table, x)


def _table_backward(saved: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    table, x = saved
    grad = grad.astype(x.dtype)
    return jnp.einsum("...v,...d->vd", grad, x), jnp.einsum("...v,vd->...d", grad, table)


table_product.defvjp(_table_forward, _table_backward)


def gradient_by_einsum(equation: str, x: jax.Array, grad: jax.Array) -> jax.Array:
    """Gradient of `product` with respect to the kernel, from that of its result."""
    of_x, of_kernel, result = equation.replace("->", ",").split(",")
    return jnp.einsum(f"{of_x},{result}->{of_kernel}", x, grad)


def gradient_by_matrices(equation: str, x: jax.Array, grad: jax.Array) -> jax.Array:
    """The same as one product of two matrices.

    XLA:CPU multiplies matrices as they lie, and makes turned copies of what has more dims. A narrow operand is worth
    turning nevertheless: the product behind it is faster.
    """
    of_x, _, result = equation.replace("->", ",").split(",")
    dims = len(set(of_x) & set(result))
    rows, shape = math.prod(x.shape[:dims]), x.shape[dims:] + grad.shape[dims:]
    x = x.reshape(rows, math.prod(x.shape[dims:]))
    grad = grad.reshape(rows, math.prod(grad.shape[dims:]))
    turned = jax.lax.optimization_barrier(x.T) if x.shape[1] < grad.shape[1] else x.T
    return (turned @ grad).reshape(shape)
