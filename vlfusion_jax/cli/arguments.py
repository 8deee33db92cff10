"""Reading a subcommand's arguments: its absl flags, its config, its overrides."""

from collections.abc import Callable

from absl import flags
from ml_collections import ConfigDict

from vlfusion_jax.config.keys import nearest
from vlfusion_jax.config.load import load_config, shipped_configs
from vlfusion_jax.config.overrides import apply_overrides, is_override
from vlfusion_jax.config.validate import validate
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.models.families.table import model_spec


def define_config_flag(values: flags.FlagValues) -> None:
    """Add --config; its overrides need no definition."""
    flags.DEFINE_string(
        "config",
        "",
        "FILE.py[:ARG]; change a key with --config.KEY=VALUE, such as --config.optim.lr=3e-4",
        flag_values=values,
    )


def parse(values: flags.FlagValues, arguments: list[str]) -> list[str]:
    """Set `values` from the arguments and return the words that are no flags.

    Raises:
      UserError: an unknown flag (with the nearest name) or a value of the wrong type.
    """
    return _no_flags_left(values, _known(values, arguments))


def parse_with_config(values: flags.FlagValues, arguments: list[str]) -> ConfigDict:
    """Set `values` from the arguments and return the config that --config names, overridden and validated.

    Raises:
      UserError: as `parse`, and for whatever is wrong with the config or left on the command line.
    """
    return parse_over_config(values, arguments, lambda: named_config(values.config))


def named_config(name: str) -> ConfigDict:
    """What --config names; UserError where it names none."""
    if not name:
        raise UserError(f"--config is missing. Shipped configs: {', '.join(shipped_configs())}.")
    return load_config(name)


def parse_over_config(values: flags.FlagValues, arguments: list[str], load: Callable[[], ConfigDict]) -> ConfigDict:
    """Set `values` from the arguments, then return the config that `load` gives, overridden and validated.

    Raises:
      UserError: as `parse`, whatever `load` raises, and for what is wrong with the config.
    """
    overrides = parse_but_overrides(values, arguments)
    return resolve(load(), overrides)


def parse_but_overrides(values: flags.FlagValues, arguments: list[str]) -> list[str]:
    """Set `values` from the arguments and return what is left: overrides of a config, and words that are no flags.

    Raises:
      UserError: as `parse`.
    """
    rest = _known(values, arguments)
    _no_flags_left(values, [argument for argument in rest if not is_override(argument)])
    return rest


def resolve(config: ConfigDict, overrides: list[str]) -> ConfigDict:
    """`config` with `overrides` applied, validated.

    Raises:
      UserError: what is wrong with an override, a word that is none, and what is wrong with the config.
    """
    config, rest = apply_overrides(config, overrides)
    no_more_words(rest)
    validate(config)
    model_spec(config, num_tokens=1, num_answers=1)  # for its complaints; the vocabulary decides none of them
    return config


def no_more_words(words: list[str]) -> None:
    """Raise UserError when words are left that no flag takes."""
    if words:
        raise UserError(f"unexpected argument {words[0]!r}; flags are written --name=value.")


def help_text(doc: str, values: flags.FlagValues) -> str:
    """A module's docstring followed by its flags."""
    own = sorted((flag for flag in values._flags().values() if flag.help), key=lambda flag: flag.name)
    lines = [f"  --{flag.name}  {flag.help}" for flag in own]
    return f"{doc.strip()}\n\nFlags:\n" + "\n".join(lines)


def _known(values: flags.FlagValues, arguments: list[str]) -> list[str]:
    values.set_gnu_getopt(True)
    try:
        return values(["vlfusion", *arguments], known_only=True)[1:]
    except flags.Error as error:
        raise UserError(" ".join(str(error).split())) from error


def _no_flags_left(values: flags.FlagValues, rest: list[str]) -> list[str]:
    for argument in rest:
        if argument.startswith("-"):
            name = argument.lstrip("-").partition("=")[0]
            raise UserError(f"unknown flag --{name}.{nearest(name, list(values))}")
    return rest
