"""`product` has the value and the gradients of the einsum it stands for, for every equation of the package."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vlfusion_jax
from vlfusion_jax.ops.product import gradient_by_einsum, gradient_by_matrices, product, table_product


def equations() -> list[str]:
    """First arguments of all `Projection(...)` and `product(...)` calls in the package that are literals."""
    found = set()
    for file in Path(vlfusion_jax.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                first = node.args[0]
                if node.func.id in ("Projection", "product") and isinstance(first, ast.Constant):
                    found.add(first.value)
    return sorted(found)


def test_equations_are_found():
    assert len(equations()) >= 8
    assert "btd,dhk->bthk" in equations()


@pytest.mark.parametrize("equation", equations())
def test_equals_einsum(equation):
    rng = np.random.default_rng(0)
    operands, result = equation.split("->")
    sizes = dict(zip(sorted(set(operands) - {","}), (3, 4, 5, 2, 6, 7), strict=False))

    def normal(indices: str) -> np.ndarray:
        return rng.normal(size=[sizes[i] for i in indices]).astype(np.float32)

    x, kernel = map(normal, operands.split(","))
    grad = normal(result)

    def both(function):
        value, pullback = jax.vjp(lambda a, b: function(equation, a, b), x, kernel)
        return value, *pullback(grad)

    for ours, expected in zip(both(product), both(jax.numpy.einsum), strict=True):
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, atol=5e-6)
    x64, kernel64, grad64 = (a.astype(np.float64) for a in (x, kernel, grad))
    np.testing.assert_allclose(product(equation, x, kernel), np.einsum(equation, x64, kernel64), atol=5e-6)
    of_x, of_kernel = operands.split(",")
    of_kernel_expected = np.einsum(f"{of_x},{result}->{of_kernel}", x64, grad64)
    np.testing.assert_allclose(both(product)[2], of_kernel_expected, atol=5e-6)
    for gradient in (gradient_by_einsum, gradient_by_matrices):
        np.testing.assert_allclose(gradient(equation, x, grad), of_kernel_expected, atol=5e-6)


def exactly(x: jax.Array) -> np.ndarray:
    return np.asarray(x).astype(np.float64)


@pytest.mark.parametrize("equation", equations())
def test_half_precision(equation):
    of_x, of_kernel, result = equation.replace("->", ",").split(",")
    rng = np.random.default_rng(1)
    sizes = dict(zip(sorted(set(of_x + of_kernel)), (3, 4, 5, 2, 6, 7), strict=False))
    x, kernel, grad = (
        jnp.asarray(rng.normal(size=[sizes[i] for i in indices]), jnp.bfloat16) for indices in (of_x, of_kernel, result)
    )
    value, pullback = jax.vjp(lambda a, b: product(equation, a, b), x, kernel)
    for ours, expected in zip(
        (value, *pullback(grad)),
        (
            np.einsum(f"{of_x},{of_kernel}->{result}", *map(exactly, (x, kernel))),
            np.einsum(f"{result},{of_kernel}->{of_x}", *map(exactly, (grad, kernel))),
            np.einsum(f"{of_x},{result}->{of_kernel}", *map(exactly, (x, grad))),
        ),
        strict=True,
    ):
        assert ours.dtype == jnp.bfloat16
        # Half a unit in the last place of the largest: sums are in f32.
        np.testing.assert_allclose(exactly(ours), expected, atol=2.0**-8 * np.abs(expected).max())


def test_no_rows():
    x, kernel = jnp.zeros((2, 0, 4)), jnp.ones((4, 5))
    gradients = jax.jit(jax.grad(lambda *a: product("btd,df->btf", *a).sum(), argnums=(0, 1)))(x, kernel)
    assert gradients[0].shape == x.shape
    np.testing.assert_array_equal(gradients[1], np.zeros((4, 5)))


def test_products_with_the_rows_of_a_table():
    rng = np.random.default_rng(1)
    x, table, grad = (rng.normal(size=shape).astype(np.float32) for shape in ((3, 4, 5), (7, 5), (3, 4, 7)))
    value, pullback = jax.vjp(table_product, table, x)
    np.testing.assert_allclose(value, x.astype(np.float64) @ table.T, atol=5e-6)
    of_table, of_x = pullback(jnp.asarray(grad))
    np.testing.assert_allclose(of_x, grad.astype(np.float64) @ table, atol=5e-6)
    np.testing.assert_allclose(of_table, np.einsum("abv,abd->vd", grad.astype(np.float64), x), atol=5e-6)
    low = [jnp.asarray(a, jnp.bfloat16) for a in (table, x)]
    value, pullback = jax.vjp(table_product, *low)
    assert value.dtype == jnp.float32
    assert [a.dtype for a in pullback(jnp.asarray(grad))] == [jnp.bfloat16] * 2
    np.testing.assert_allclose(value, x @ table.T, atol=0.1)
