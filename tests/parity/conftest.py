"""Models of `transformers` with random weights, written to disk, read back as ours, and both run on the same inputs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from vlfusion_jax.convert.hugging_face import Imported, converter_of, export_model, import_model
from vlfusion_jax.convert.source import open_checkpoint
from vlfusion_jax.convert.weights import import_weights
from vlfusion_jax.core.tree import flatten, nested
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
        apply = jax.jit(jax.grad(lambda params: loss(model.apply({"params": params}, inputs, self.ours.heads))))
        return flatten(apply(nested(self.ours.params)))

    def their_gradient(self) -> dict[str, np.ndarray]:
        """{path: gradient} of theirs, which a `backward` has left there, converted as weights are."""
        weights = self.theirs.named_parameters()
        found = {name: np.zeros(x.shape, np.float32) if x.grad is None else x.grad.numpy() for name, x in weights}
        keys = converter_of(self.ours.family).name_map(self.ours.model, self.ours.sizes, self.ours.architecture)
        shapes = {path: x.shape for path, x in self.ours.params.items()}
        return import_weights(found, found.__getitem__, keys, shapes, "the gradient")[0]


def seeds(first: int, *more: int) -> list:
    """Seeds to draw configurations from: the first in every run, the others in runs of slow tests."""
    return [first, *(pytest.param(seed, marks=pytest.mark.slow) for seed in more)]


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Every weight a random number: biases and norms too, which a fresh model has at 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            around = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            fan_in = weight[0].numel() if weight.ndim > 1 else 1
            scale = 0.1 if weight.ndim < 2 or "embedding" in name else min(0.1, fan_in**-0.5)
            weight.copy_(around + scale * torch.randn(weight.shape, generator=generator))
        for name, stored in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                stored.copy_(name.endswith("var") + 0.1 * torch.randn(stored.shape, generator=generator))


@pytest.fixture
def convert(tmp_path) -> Callable[..., Pair]:
    """Function (class, config, seed=0) -> the pair, its weights gone through `save_pretrained`."""

    def make(kind: type, config: Any, seed: int = 0, **options: Any) -> Pair:
        model = kind(config).eval()
        randomise(model, seed)
        model.save_pretrained(tmp_path / "theirs")
        return Pair(model, tmp_path / "theirs", import_model(open_checkpoint(str(tmp_path / "theirs")), **options))

    return make


@pytest.fixture
def there_and_back(tmp_path) -> Callable[[Pair], Pair]:
    """Function pair -> ours saved as theirs and read by `from_pretrained`, held to be the same bytes as before."""

    def make(pair: Pair) -> Pair:
        ours, folder = pair.ours, tmp_path / "back"
        tensors, config = export_model(
            ours.family, ours.model, ours.sizes, ours.architecture, ours.params, ours.answers
        )
        before = load_file(pair.folder / "model.safetensors")
        assert tensors.keys() == before.keys() - ours.account.copies.keys()
        for key, tensor in tensors.items():
            assert (tensor.dtype, tensor.shape) == (before[key].dtype, before[key].shape), key
            assert tensor.tobytes() == before[key].tobytes(), key
        folder.mkdir()
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(config))
        again, info = type(pair.theirs).from_pretrained(folder, output_loading_info=True)
        assert not any(info.values()), info
        return pair._replace(theirs=again.eval(), folder=folder)

    return make


@pytest.fixture
def raster_order(monkeypatch):
    """Theirs draws at random which image tokens ViLT keeps, and padding; evenly spread, in order, instead."""

    def multinomial(weights: torch.Tensor, count: int, **_) -> torch.Tensor:
        if count > len(weights):
            return torch.arange(count) % len(weights)
        return torch.tensor([-(-(i + 1) * len(weights) // int(count)) - 1 for i in range(count)])

    monkeypatch.setattr(torch, "multinomial", multinomial)


def gradients_close(ours: dict[str, Any], theirs: dict[str, np.ndarray], bound: float = 1e-3) -> None:
    """Assert that every parameter's gradient is equal within `bound` of its length.

    A gradient that is zero but for rounding, such as that of the keys' biases, is measured by the others' sizes.
    """
    assert ours.keys() == theirs.keys()
    lengths = {path: float(np.linalg.norm(x)) for path, x in theirs.items()}
    floor = 1e-5 * max(lengths.values())
    for path, x in theirs.items():
        assert np.linalg.norm(np.asarray(ours[path]) - x) <= bound * max(lengths[path], floor), path


def close(ours: Any, theirs: torch.Tensor, bound: float, keep: np.ndarray | None = None, what: str = "") -> None:
    """Assert that they are equal within `bound`, where `keep` is true."""
    ours, theirs = np.asarray(ours, np.float32), theirs.detach().numpy()
    assert ours.shape == theirs.shape, what
    if keep is not None:
        ours, theirs = ours[keep], theirs[keep]
    assert ours.size
    assert np.isfinite(theirs).all()
    np.testing.assert_allclose(ours, theirs, atol=bound, rtol=0, err_msg=what)
