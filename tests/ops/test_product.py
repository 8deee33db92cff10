"""`product` has the value and the gradients of the einsum it stands for, for every equation of the package."""

import ast
from pathlib import Path

import jax
import numpy as np
import pytest

import vlfusion_jax
from vlfusion_jax.ops.product import product


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
