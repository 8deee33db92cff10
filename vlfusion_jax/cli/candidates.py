"""Flags for the ways to run a config that are compared, shared by `plan` and `bench`."""

import itertools

from absl import flags
from ml_collections import ConfigDict

from vlfusion_jax.cli.arguments import named_config
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.plan.candidate import Candidate


def define_candidate_flags(values: flags.FlagValues) -> None:
    """Add --strategies, --batch_per_device, --answers, and the settings that candidates differ in besides."""
    flags.DEFINE_list("strategies", ["dp", "fsdp"], "shardings, name[:arg], to compare", flag_values=values)
    flags.DEFINE_list("remat", [], "settings of model.remat to compare; default the config's", flag_values=values)
    flags.DEFINE_list("micro_batches", [], "numbers of train.micro_batches to compare", flag_values=values)
    flags.DEFINE_list("scan_layers", [], "settings of model.scan_layers to compare: true,false", flag_values=values)
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
    settings = {
        "model.remat": values.remat,
        "train.micro_batches": [_number(text) for text in values.micro_batches],
        "model.scan_layers": [_truth(text) for text in values.scan_layers],
    }
    given = {key: choices for key, choices in settings.items() if choices}
    return [
        Candidate(
            strategy, topology, values.batch_per_device, values.answers, dict(zip(given, chosen, strict=True)), slices
        )
        for strategy in values.strategies
        for chosen in itertools.product(*given.values())
    ]


def _number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise UserError(f"--micro_batches: {text!r} is not a number of micro-batches.")
    return int(text)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise UserError(f"--scan_layers: {text!r} is neither true nor false.")
    return text.lower() == "true"


def config_without_data(name: str) -> ConfigDict:
    """The config of that name; the data of the run, which is not read, need not be there."""
    config = named_config(name)
    config.data.path = config.data.path or "not read"
    return config
