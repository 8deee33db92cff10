"""A resolved config as text: one line per key to read and compare, plain values to store and restore exactly."""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from vlfusion_jax.config.keys import check_schema, flatten
from vlfusion_jax.config.schema import default_config


def dump_text(config: ConfigDict) -> str:
    """Lines `key = value`, sorted by key, values as Python writes them."""
    return "".join(f"{key} = {value!r}\n" for key, value in sorted(flatten(config).items()))


def dump_plain(config: ConfigDict) -> dict[str, Any]:
    """The config as nested dicts of what JSON knows; tuples become lists."""
    return {
        key: dump_plain(value) if isinstance(value, ConfigDict) else _as_list(value) for key, value in config.items()
    }


ModelDefaults = Callable[[str], dict[str, Any]]  # family → its keys with their defaults


def load_plain(plain: dict[str, Any], where: str, model_defaults: ModelDefaults = lambda family: {}) -> ConfigDict:
    """The locked config that `dump_plain` was given, after JSON as well.

    A key that is younger than the stored config has its default, by which what it names is as it was without it.

    Args:
      plain: nested dicts.
      where: file or checkpoint it was read from, for the message.
      model_defaults: of the keys of `config.model`, which are not in the schema; `models.families.table.load_stored`
        knows them.

    Raises:
      UserError: a key is unknown, or its type is not that of the schema.
    """
    schema = default_config()
    values = _completed(_with_tuples(plain), schema.to_dict())
    values["model"] = model_defaults(values["model"]["family"]) | values["model"]
    config = ConfigDict(values)
    check_schema(config, schema, where)
    return config.lock()


def _completed(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    inner = {key: _completed(values.get(key, {}), value) for key, value in defaults.items() if isinstance(value, dict)}
    return defaults | values | inner


def _as_list(value: Any) -> Any:
    return [_as_list(item) for item in value] if isinstance(value, tuple) else value


def _with_tuples(value: Any) -> Any:
    # The schema holds no lists, so every list was a tuple.
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    return tuple(_with_tuples(item) for item in value) if isinstance(value, list) else value
