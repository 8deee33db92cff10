"""Products with parameters, their gradients in the parameter's own layout."""

import math
from functools import partial

import jax
import jax.numpy as jnp


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def product(equation: str, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`jnp.einsum(equation, x, kernel)`: `x` [rows..., in...], `kernel` [in..., out...], the result [rows..., out...].

    The numbers are those of the einsum. Its own transpose rule emits the kernel's gradient transposed and turns it
    round afterwards, which costs XLA:CPU a strided copy of all activations: the gradient of a small MLP took 1.5 times
    as long.
    """
    return jnp.einsum(equation, x, kernel)


def _forward(equation: str, x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return jnp.einsum(equation, x, kernel), (x, kernel)


def _backward(equation: str, saved: tuple[jax.Array, jax.Array], grad: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    operands, result = equation.split("->")
    of_x, of_kernel = operands.split(",")

    def of_kernel_grad(x: jax.Array, grad: jax.Array) -> jax.Array:
        return jnp.einsum(f"{of_x},{result}->{of_kernel}", x, grad)

    def of_kernel_grad_on_cpu(x: jax.Array, grad: jax.Array) -> jax.Array:
        # XLA:CPU multiplies matrices as they lie; of operands with more dims it makes turned copies first. A narrow
        # operand is worth turning nevertheless: the product behind is faster.
        rows = math.prod(x.shape[: len(set(of_x) & set(result))])
        x, grad = x.reshape(rows, -1), grad.reshape(rows, -1)
        turned = jax.lax.optimization_barrier(x.T) if x.shape[1] < grad.shape[1] else x.T
        return (turned @ grad).reshape(kernel.shape)

    return (
        jnp.einsum(f"{result},{of_kernel}->{of_x}", grad, kernel),
        jax.lax.platform_dependent(x, grad, cpu=of_kernel_grad_on_cpu, default=of_kernel_grad),
    )


product.defvjp(_forward, _backward)
