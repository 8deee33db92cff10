"""Finding the strategy that a run names."""

from collections.abc import Sequence
from pathlib import Path

import jax

from vlfusion_jax.config.load import call_file, shipped_folder, split_arg
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.parallel.mesh import axis_sizes, make_mesh
from vlfusion_jax.parallel.strategy import Strategy


def load_strategy(text: str, devices: Sequence[jax.Device] | None = None) -> Strategy:
    """The strategy that `text` names, on `devices` (default: all).

    Args:
      text: `name[:arg]`: a strategy file of `configs/shardings` without its ending, or the path of a Python file, that
        defines `get_strategy(arg='') -> {'mesh': {axis: size}, 'rules': {logical axis: mesh axes}}`, and where wanted
        'optimizer' and 'parts', see `Strategy`; and its argument.
      devices: the devices to use.

    Raises:
      UserError: where there is no such strategy, or it does not fit the devices.
    """
    name, arg = split_arg(text)
    shipped = {file.stem: file for file in sorted((shipped_folder() / "shardings").glob("[!_]*.py"))}
    file = shipped.get(name, Path(name))
    if file.suffix != ".py" or not file.is_file():
        raise UserError(f"sharding={text!r}: no such strategy; use one of {sorted(shipped)} or the path of a .py file.")
    table = call_file(file, "get_strategy", arg)
    if not _is_strategy(table):
        raise UserError(
            f"{file}: get_strategy must return {{'mesh': {{axis: size}}, 'rules': {{logical axis: mesh axes}}}}, and "
            f"where wanted 'optimizer': {{…}} and 'parts': {{module: {{…}}}}; got {table!r:.200}"
        )
    devices = list(jax.devices() if devices is None else devices)
    mesh = make_mesh(axis_sizes(table["mesh"], len(devices), text), devices)
    return Strategy(text, mesh, table["rules"], table.get("optimizer", {}), table.get("parts", {}))


def _is_strategy(table: object) -> bool:
    if not isinstance(table, dict) or not {"mesh", "rules"} <= set(table) <= {"mesh", "rules", "optimizer", "parts"}:
        return False
    return all(isinstance(each, dict) for each in (*table.values(), *table.get("parts", {}).values()))
