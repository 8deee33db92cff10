"""Overrides on the command line: `--config.optim.lr=3e-4`, parsed by `ml_collections.config_flags`."""

import re

from absl import flags
from ml_collections import ConfigDict, config_flags

from vlfusion_jax.config.keys import flatten, nearest
from vlfusion_jax.core.errors import UserError

_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]*)")


def is_override(argument: str) -> bool:
    """Whether a word of the command line begins an override."""
    return bool(_OVERRIDE.match(argument))


def apply_overrides(config: ConfigDict, arguments: list[str]) -> tuple[ConfigDict, list[str]]:
    """`config` with every `--config.key=value` of `arguments` applied, and the arguments that are left.

    Args:
      config: the run's config; it is not changed.
      arguments: command line without the program's name; `--config.key value`, `--config.flag` and
        `--noconfig.flag` are understood too.

    Raises:
      UserError: an unknown key (with the nearest name) or a value of another type than the key's.
    """
    known = flatten(config)
    for argument in arguments:
        override = _OVERRIDE.match(argument)
        if override and override[1] not in known:
            raise UserError(f"unknown config key {override[1]!r}.{nearest(override[1], known)}")
    values = flags.FlagValues()
    values.set_gnu_getopt(True)
    try:
        config_flags.DEFINE_config_dict(
            "config", config.copy_and_resolve_references(), flag_values=values, sys_argv=arguments
        )
        rest = values(["vlfusion", *arguments], known_only=True)[1:]
    except (flags.Error, TypeError, ValueError) as error:
        raise UserError(_reason(str(error), known)) from error
    return values.config, rest


def _reason(text: str, known: dict) -> str:
    # absl says "flag --config.key=value: reason", with a reason in the words of the parser.
    found = re.match(r"flag --config\.([\w.]+)=(.*?): ", text, re.DOTALL)
    if not found or found[1] not in known:
        return " ".join(text.split())
    key, default = found[1], known[found[1]]
    return f"config key {key!r} is of type {type(default).__name__}, such as {default!r}; got {found[2]!r}."
