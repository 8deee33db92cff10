"""What a checkpoint says about the run that made it."""

from importlib.metadata import version
from typing import Any

import jax
from ml_collections import ConfigDict

from vlfusion_jax.config.dump import dump_plain
from vlfusion_jax.data.vocabulary import Vocabulary

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "grain", "numpy")


def describe(run: Any, clock: float, source: str = "") -> dict[str, Any]:
    """JSON-able description of `run` (see `train.setup.Run`) after `clock` seconds of training on data `source`.

    `config` reads back with `config.dump.load_plain`, `vocabulary` with `data.vocabulary.Vocabulary.from_dict`.
    """
    return describe_model(run.config, run.vocabulary) | {
        "strategy": {"name": run.strategy.name, "mesh": dict(run.strategy.mesh.shape)},
        "hosts": jax.process_count(),
        "source": source,
        "clock": clock,
    }


def describe_model(config: ConfigDict, vocabulary: Vocabulary) -> dict[str, Any]:
    """What of a description any parameters have, trained here or not."""
    return {
        "config": dump_plain(config),
        "vocabulary": vocabulary.to_dict(),
        "layout": "scanned" if config.model.scan_layers else "unrolled",
        "versions": {package: version(package) for package in _PACKAGES},
    }
