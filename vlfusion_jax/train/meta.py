"""What a checkpoint says about the run that made it."""

from importlib.metadata import version
from typing import Any

import jax

from vlfusion_jax.config.dump import dump_plain

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "grain", "numpy")


def describe(run: Any, clock: float, source: str = "") -> dict[str, Any]:
    """JSON-able description of `run` (see `train.setup.Run`) after `clock` seconds of training on data `source`.

    `config` reads back with `config.dump.load_plain`, `vocabulary` with `data.vocabulary.Vocabulary.from_dict`.
    """
    return {
        "config": dump_plain(run.config),
        "vocabulary": run.vocabulary.to_dict(),
        "layout": "scanned" if run.config.model.scan_layers else "unrolled",
        "strategy": {"name": run.strategy.name, "mesh": dict(run.strategy.mesh.shape)},
        "hosts": jax.process_count(),
        "versions": {package: version(package) for package in _PACKAGES},
        "source": source,
        "clock": clock,
    }
