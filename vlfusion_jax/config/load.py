"""Config files: `path.py[:arg]`, found in the current directory or among those shipped with the package."""

import re
import runpy
import traceback
from pathlib import Path

from ml_collections import ConfigDict

from vlfusion_jax.config.keys import check_schema
from vlfusion_jax.config.schema import default_config
from vlfusion_jax.core.errors import UserError


def load_config(text: str) -> ConfigDict:
    """The locked config that `get_config(arg)` of the file in `text` returns, its keys those of the schema.

    Args:
      text: `path.py` or `path.py:arg`. A path that is not there is looked up below the package's own `configs`.

    Raises:
      UserError: the file is missing, fails, has no `get_config`, or returns other keys than the schema's.
    """
    path, arg = split_arg(text)
    file = find_file(path)
    config = call_file(file, "get_config", arg)
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"{file}: get_config must return the config that default_config() gave, changed; got {config!r}"
        )
    check_schema(config, default_config(), str(file))
    config.published.lock()
    return config.lock()


def shipped_folder() -> Path:
    """Folder of the shipped configs: inside the installed package, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def shipped_configs() -> list[str]:
    """Names such as `configs/quickstart.py` of all shipped run configs, sorted."""
    folder = shipped_folder()
    files = [file for part in ("", "finetune_tasks", "pretrain") for file in (folder / part).glob("*.py")]
    return sorted(f"configs/{file.relative_to(folder)}" for file in files)


def split_arg(text: str) -> tuple[str, str]:
    """`path.py:arg` as (path, arg); arg is '' without a colon."""
    path, _, arg = text.partition(":")
    return path, arg


def find_file(path: str) -> Path:
    """The file at `path` as seen from the current directory, else the shipped one of that name.

    Raises:
      UserError: there is neither.
    """
    local = Path(path).expanduser()
    if local.is_file():
        return local
    if not local.is_absolute():
        parts = local.parts[1:] if local.parts[:1] == ("configs",) else local.parts
        shipped = shipped_folder().joinpath(*parts)
        if shipped.is_file():
            return shipped
    raise UserError(f"config file {path!r} does not exist. Shipped configs: {', '.join(shipped_configs())}.")


def call_file(file: Path, function: str, arg: str) -> object:
    """Run the Python file and return what its `function(arg)` returns.

    Raises:
      UserError: the file fails, or has no such function; the message gives the file and the line.
    """
    try:
        content = runpy.run_path(str(file))
        if function not in content:
            raise UserError(f"{file}: defines no function {function}(arg='').")
        return content[function](arg)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{file}:{_line_in(file, error)}: {_one_line(error)}") from error


def _line_in(file: Path, error: Exception) -> int | str:
    """Last line of `file` that the error passed through."""
    if isinstance(error, SyntaxError):
        return error.lineno or "?"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return lines[-1] if lines else "?"


def _one_line(error: Exception) -> str:
    # A locked ConfigDict raises AttributeError(KeyError(advice)), and str(KeyError) would quote the advice.
    reason = error
    while reason.args and isinstance(reason.args[0], Exception):
        reason = reason.args[0]
    text = " ".join(str(reason.args[0] if reason.args else "").split())
    return re.sub(r'Other fields present: ".*?" ', "", text) or type(error).__name__
