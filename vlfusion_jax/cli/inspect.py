"""vlfusion inspect --config=FILE.py[:ARG] [--devices=N] [--config.KEY=VALUE ...]

Shows each parameter of the run: shape, logical axes, the mesh axes they are split over, bytes in all and per device.
Nothing is allocated, so that with --devices=N any mesh can be looked at.
"""

from absl import flags

from vlfusion_jax.cli.arguments import define_config_flag, parse_with_config
from vlfusion_jax.cli.devices import define_device_flags, start_devices
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.vocabulary import build_vocabulary
from vlfusion_jax.parallel.audit import format_audit
from vlfusion_jax.train.setup import build


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    define_config_flag(values)
    define_device_flags(values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Print the table of the run's parameters."""
    config = parse_with_config(values, arguments)
    start_devices(values)
    vocabulary = build_vocabulary([open_source(config.data, config.data.train_split)], config.data)
    job = build(config, vocabulary)
    mesh = " × ".join(f"{axis}={size}" for axis, size in job.strategy.mesh.shape.items())
    print(f"sharding {config.sharding}: mesh {mesh}")
    print(format_audit(job.audit, job.strategy.mesh.size))
