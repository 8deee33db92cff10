"""Dotted keys of a config: flattening, the nearest name, and holding a config to the schema."""

import difflib
from collections.abc import Iterable
from typing import Any

from ml_collections import ConfigDict

from vlfusion_jax.core.errors import UserError

PUBLISHED = "published."
# Sections whose keys are not the schema's: free ones, and those of a model family.
_OPEN = (PUBLISHED, "model.")


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Dotted key -> value, in the order of the config; an empty section gives no entry."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            flat.update({f"{key}.{inner}": item for inner, item in flatten(value).items()})
        else:
            flat[key] = value
    return flat


def nearest(name: str, names: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest of `names`, or '' if none is near.

    Of dotted keys the last part alone counts as well, so that `lr` finds `optim.lr`.
    """
    names = list(names)
    close = difflib.get_close_matches(name, names, 1, 0.6)
    if not close:
        by_last = {other.rsplit(".", 1)[-1]: other for other in names}
        close = [by_last[last] for last in difflib.get_close_matches(name.rsplit(".", 1)[-1], by_last, 1, 0.6)]
    return f" Did you mean {close[0]!r}?" if close else ""


def check_schema(config: ConfigDict, schema: ConfigDict, where: str) -> None:
    """Hold that `config` has exactly the keys and types of `schema`, `published` and `model` aside.

    Args:
      config: config to check.
      schema: what `default_config()` returns.
      where: file or checkpoint that the config came from, for the message.

    Raises:
      UserError: a key is unknown or missing, or a value has another type.
    """
    known = _closed(schema)
    given = _closed(config)
    for key, value in given.items():
        if key not in known:
            raise UserError(f"{where}: unknown config key {key!r}.{nearest(key, known)}")
        if type(value) is not type(known[key]):
            raise UserError(f"{where}: config key {key!r} is of type {type(known[key]).__name__}; got {value!r}.")
    missing = [key for key in known if key not in given]
    if missing:
        raise UserError(f"{where}: config key {missing[0]!r} is missing; start the config from default_config().")


def _closed(config: ConfigDict) -> dict[str, Any]:
    return {key: value for key, value in flatten(config).items() if not key.startswith(_OPEN)}
