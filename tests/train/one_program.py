"""Prints the names of the programs that a process makes of tiny runs: python -m tests.train.one_program."""

import hashlib
from types import SimpleNamespace

import jax

from vlfusion_jax.config.load import load_config
from vlfusion_jax.data.pipeline import batch_shapes
from vlfusion_jax.parallel.placement import with_shardings
from vlfusion_jax.train.setup import build

VOCABULARY = SimpleNamespace(size=60, answers=tuple("abcdefg"), kinds=("colour", "shape"), answers_per_question=2)


def main() -> None:
    """A line for each kind of model."""
    for kind in ("single_stream", "two_stream"):
        config = load_config(f"configs/tiny.py:{kind}")
        run = build(config, VOCABULARY, jax.devices())
        shapes = batch_shapes(config, VOCABULARY)
        batch = with_shardings(shapes, dict.fromkeys(shapes, run.batch_sharding))
        text = run.train_step.lower(run.abstract_state, batch).as_text()
        print(kind, hashlib.sha256(text.encode()).hexdigest())


if __name__ == "__main__":
    main()
