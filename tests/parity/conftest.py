"""Models of `transformers` with random weights, written to disk, read back as ours, and both run on the same inputs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import torch

from vlfusion_jax.convert.hugging_face import Imported, import_model, nested
from vlfusion_jax.convert.source import open_checkpoint
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.output import FusionOutput

FULL, TINY = 1e-4, 1e-5  # how far outputs may be apart


class Pair(NamedTuple):
    """A model of theirs, where it lies on disk, and the same as ours."""

    theirs: torch.nn.Module
    folder: Path
    ours: Imported

    def run(self, inputs: dict[str, np.ndarray], heads: tuple[str, ...] | None = None) -> FusionOutput:
        """Our outputs, everything captured."""
        model = FusionModel(self.ours.spec)
        heads = self.ours.heads if heads is None else heads
        apply = jax.jit(lambda params, inputs: model.apply({"params": params}, inputs, heads, capture=True))
        return apply(nested(self.ours.params), inputs)

    def gradient(self, inputs: dict[str, np.ndarray], loss: Callable[[FusionOutput], jax.Array]) -> dict[str, Any]:
        """{path: gradient} of a loss of our outputs."""
        model = FusionModel(self.ours.spec)
        apply = jax.jit(
            jax.grad(lambda params: loss(model.apply({"params": params}, inputs, self.ours.heads)))
        )
        return apply(nested(self.ours.params))


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Every weight a random number: biases and norms too, which a fresh model has at 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            around = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            fan_in = weight[0].numel() if weight.ndim > 1 else 1
            scale = 0.1 if weight.ndim < 2 or "embedding" in name else min(0.1, fan_in**-0.5)
            weight.copy_(around + scale * torch.randn(weight.shape, generator=generator))


@pytest.fixture
def convert(tmp_path) -> Callable[..., Pair]:
    """Function (class, config, seed=0) -> the pair, its weights gone through `save_pretrained`."""

    def make(kind: type, config: Any, seed: int = 0, **options: Any) -> Pair:
        model = kind(config).eval()
        randomise(model, seed)
        model.save_pretrained(tmp_path / "theirs")
        return Pair(model, tmp_path / "theirs", import_model(open_checkpoint(str(tmp_path / "theirs")), **options))

    return make


def close(ours: Any, theirs: torch.Tensor, bound: float, keep: np.ndarray | None = None, what: str = "") -> None:
    """Assert that they are equal within `bound`, where `keep` is true."""
    ours, theirs = np.asarray(ours, np.float32), theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    if keep is not None:
        ours, theirs = ours[keep], theirs[keep]
    assert ours.size
    assert np.isfinite(theirs).all()
    np.testing.assert_allclose(ours, theirs, atol=bound, rtol=0, err_msg=what)
