"""Flags for the ways to run a config that are compared, shared by `plan` and `bench`."""

from absl import flags
from ml_collections import ConfigDict

from vlfusion_jax.cli.arguments import named_config
from vlfusion_jax.plan.candidate import Candidate


def define_candidate_flags(values: flags.FlagValues) -> None:
    """Add --strategies, --remat, --batch_per_device and --answers."""
    flags.DEFINE_list("strategies", ["dp", "fsdp"], "shardings, name[:arg], to compare", flag_values=values)
    flags.DEFINE_list("remat", [], "settings of model.remat to compare; default the config's", flag_values=values)
    flags.DEFINE_integer(
        "batch_per_device",
        0,
        "images of a device in an update; 0 = the config's batch, divided",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_integer("answers", 3129, "size of the answer set", lower_bound=1, flag_values=values)


def candidates(values: flags.FlagValues, topology: str, slices: int = 1) -> list[Candidate]:
    """What the flags say, on so many slices of a machine."""
    return [
        Candidate(
            strategy, topology, values.batch_per_device, values.answers, {"model.remat": remat} if remat else {}, slices
        )
        for strategy in values.strategies
        for remat in values.remat or [""]
    ]


def config_without_data(name: str) -> ConfigDict:
    """The config of that name; the data of the run, which is not read, need not be there."""
    config = named_config(name)
    config.data.path = config.data.path or "not read"
    return config
