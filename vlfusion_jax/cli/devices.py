"""Flags for the devices of a run, shared by the subcommands; applied before jax touches any."""

import socket
import sys

import jax
from absl import flags

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.parallel import distributed


def define_device_flags(values: flags.FlagValues) -> None:
    """Add --devices and the flags of a run of several processes."""
    flags.DEFINE_integer("devices", 0, "simulate so many devices on the CPU; 0 = use the real ones", flag_values=values)
    flags.DEFINE_string(
        "coordinator_address", "", "host:port of process 0, for a run of several processes", flag_values=values
    )
    flags.DEFINE_integer("num_processes", 0, "number of processes of the run", flag_values=values)
    flags.DEFINE_integer("process_id", -1, "number of this process, from 0", flag_values=values)


def start_devices(values: flags.FlagValues) -> None:
    """Set up simulated devices and `jax.distributed` as the flags say; each of several processes says which it is.

    Raises:
      UserError: a negative number of devices, or an incomplete distributed set-up.
    """
    if values.devices < 0:
        raise UserError(f"--devices is {values.devices}; it must be 0 or more.")
    if values.devices:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", values.devices)
    said = distributed.initialize(values.coordinator_address, values.num_processes, values.process_id)
    if jax.distributed.is_initialized():
        print(f"{said}, on {socket.gethostname()}", file=sys.stderr, flush=True)
