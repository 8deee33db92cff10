"""Joining the processes of a run, or not, before any device is touched."""

import os

import jax

from vlfusion_jax.core.errors import UserError

ENVIRONMENT = ("VLFUSION_COORDINATOR_ADDRESS", "VLFUSION_NUM_PROCESSES", "VLFUSION_PROCESS_ID")
PATIENCE = "VLFUSION_HEARTBEAT_SECONDS"
# jax's own 100 s keep a whole pod waiting for a process that is gone. Its heartbeats come from a thread that Python
# cannot hold up, twice in this time.
PATIENCE_SECONDS = 30


def _cluster_detected() -> bool:
    # The same detection that `jax.distributed.initialize()` runs, asked beforehand: without a cluster it raises.
    from jax._src.clusters import ClusterEnv

    return any(c.is_env_present() and not getattr(c, "opt_in_only_method", False) for c in ClusterEnv._cluster_types)


def initialize(coordinator_address: str = "", num_processes: int = 0, process_id: int = -1) -> str:
    """Starts `jax.distributed` from the arguments, else from the environment, else from a detected cluster.

    From then on the loss of a process ends all: one that is silent for `VLFUSION_HEARTBEAT_SECONDS` (30) is named by
    jax, as `task`, and every other aborts. The loss of process 0, which listens to the heartbeats, is noticed at once.

    Args:
      coordinator_address: `host:port` of process 0; empty = ask the environment (`VLFUSION_COORDINATOR_ADDRESS`,
        `VLFUSION_NUM_PROCESSES`, `VLFUSION_PROCESS_ID`), then the cluster (SLURM, Open MPI, GKE and TPU VMs).
      num_processes: number of processes.
      process_id: number of this one, from 0.

    Returns:
      How it was set up, in words.

    Raises:
      UserError: where some of the three are given and others are not, or a number makes no sense.
    """
    given, source = (coordinator_address, num_processes or "", "" if process_id < 0 else process_id), "flags"
    if not any(str(g) for g in given):
        given, source = tuple(os.environ.get(name, "") for name in ENVIRONMENT), "environment"
    patience = _patience()
    if any(str(g) for g in given):
        if not all(str(g) for g in given):
            raise UserError(
                f"distributed set-up from {source} is incomplete: coordinator address, number of processes and process "
                f"id go together, got {given}. Flags: --coordinator_address, --num_processes, --process_id; "
                f"environment: {', '.join(ENVIRONMENT)}."
            )
        processes, process = _numbers(given[1], given[2], source)
        _prepare_cpu()
        jax.distributed.initialize(given[0], processes, process, heartbeat_timeout_seconds=patience)
        return f"process {process} of {processes}, by {source}"
    if _cluster_detected():
        _prepare_cpu()
        jax.distributed.initialize(heartbeat_timeout_seconds=patience)
        return f"process {jax.process_index()} of {jax.process_count()}, by the cluster's environment"
    return "one process"


def _prepare_cpu() -> None:
    """How processes on CPUs reach each other, where it is they that compute."""
    platforms = jax.config.jax_platforms or ""
    if platforms and not platforms.startswith("cpu"):
        return
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if platforms:
        # With more threads XLA begins collectives that do not depend on each other at the same time, and two processes
        # may then pair them off differently: an abort in gloo, seen with jax 0.10.2.
        os.environ.setdefault("NPROC", "1")


def _numbers(processes: int | str, process: int | str, source: str) -> tuple[int, int]:
    try:
        numbers = int(processes), int(process)
    except ValueError:
        numbers = 0, 0
    if not 0 <= numbers[1] < numbers[0]:
        raise UserError(
            f"distributed set-up from {source}: process {process} of {processes}; both are whole numbers, and "
            "processes are counted from 0."
        )
    return numbers


def _patience() -> int:
    given = os.environ.get(PATIENCE, "") or str(PATIENCE_SECONDS)
    if not given.isdecimal() or int(given) < 1:
        raise UserError(f"{PATIENCE} is {given!r}; it is a whole number of seconds, 1 or more.")
    return int(given)
