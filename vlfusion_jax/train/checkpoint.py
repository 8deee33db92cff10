"""Checkpoints of a run: `<workdir>/checkpoints/<step>/{state,data,meta}`. The only file that imports Orbax.

`state` is the sharded `TrainState`; `data` names the next batch; `meta` is what it takes to rebuild the run, as JSON.
A checkpoint appears under its number only when all of it is written, so a killed run leaves the one before.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict
from orbax.checkpoint import v1 as ocp

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import flatten, nested, path_name
from vlfusion_jax.train.checkpoint_folders import (
    FOLDER,
    STATE,
    checkpoint_folders,
    free_name,
    newest_readable,
    step_folders,
)
from vlfusion_jax.train.checksum import checksums
from vlfusion_jax.train.reuse import fit_rows, reusable

_DATA, _META, _CHECKSUMS = "data", "meta", "checksums"


class Restored(NamedTuple):
    """What one checkpoint holds: completed updates, `TrainState`, data position, and the run's description."""

    step: int
    state: Any
    data: dict[str, int]
    meta: dict[str, Any]


class Checkpointer:
    """Saves and restores the checkpoints of one work directory; the newest `keep` and the best by metric remain.

    Args:
      workdir: the run's folder.
      config: `config.checkpoint` of the run: `keep`, `best_metric`, `best_mode`.
      spare_bytes: memory for writing, more than the largest array has; it is written uncompressed then, for compression
        takes as much again. None = no limit.
    """

    def __init__(self, workdir: str | Path, config: ConfigDict, spare_bytes: int | None = None):
        policies = ocp.training.preservation_policies
        kept = [policies.LatestN(config.keep)]
        if config.best_metric:
            kept.append(
                policies.BestN(
                    get_metric_fn=lambda metrics: metrics[config.best_metric],
                    reverse=config.best_mode == "min",
                    n=1,
                    keep_checkpoints_without_metrics=False,
                )
            )
        self.folder = (Path(workdir) / FOLDER).absolute()
        self._best_metric = config.best_metric
        context = _context()
        context.memory.write_concurrent_bytes = context.memory.transfer_concurrent_bytes = spare_bytes
        context.array.saving.use_compression = spare_bytes is None
        self._orbax = ocp.training.Checkpointer(
            self.folder,
            context=context,
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),  # the loop decides
            preservation_policy=policies.AnyPreservationPolicy(kept),
            cleanup_tmp_directories=True,
        )

    def save(self, step: int, state: Any, meta: dict[str, Any], metrics: dict[str, float] | None = None) -> None:
        """Writes checkpoint `step` in the background; the state may be donated as soon as this returns.

        Waits for the save before it, and raises the error that one may have met.

        Args:
          step: completed updates; the batch to resume with has the same number.
          state: sharded `TrainState`.
          meta: JSON-able description of the run, with `config.seed` inside.
          metrics: evaluation of this very state, where there was one; decides which checkpoint is the best.

        Raises:
          UserError: the metrics lack `best_metric`; the checkpoint is written, without a rank.
        """
        self._orbax.wait()
        if step in self.steps():
            return
        ranked = {name: value for name, value in (metrics or {}).items() if name == self._best_metric}
        self._orbax.save_checkpointables_async(
            step,
            {
                STATE: state,
                _DATA: {"next_batch": step, "seed": meta["config"]["seed"]},
                _META: {**meta, "step": step, "orbax": version("orbax-checkpoint"), _CHECKSUMS: checksums(state)},
            },
            force=True,
            metrics=ranked or None,
        )
        if self._best_metric and metrics is not None and not ranked:
            self._orbax.wait()
            raise UserError(
                f"checkpoint.best_metric: the evaluation has no {self._best_metric!r}; it has {sorted(metrics)}. "
                f"Step {step} is saved: change the key and give the same command again."
            )

    def steps(self) -> list[int]:
        """Completed checkpoints, oldest first."""
        return [checkpoint.step for checkpoint in self._orbax.checkpoints]

    def restore(self, abstract_state: Any) -> Restored | None:
        """The newest checkpoint that reads whole, placed as `abstract_state` says; None where there is none.

        Checkpoints that do not read are named in a `CheckpointWarning` and, once an older one did, renamed to
        `<step>.unreadable` (`.unreadable-1`, …), so that the run can write those steps again.

        Args:
          abstract_state: tree of `jax.ShapeDtypeStruct` with `sharding`; its mesh need not be that of the save.

        Raises:
          UserError: there are checkpoints and none reads.
        """
        folders = step_folders(self.folder)
        if not folders:
            return None
        folder, restored = newest_readable(folders, lambda folder: _read(folder, abstract_state))
        self._set_aside(folders[: folders.index(folder)])
        return restored

    def _set_aside(self, unreadable: list[Path]) -> None:
        if not unreadable:
            return
        if jax.process_index() == 0:
            for folder in unreadable:
                folder.rename(free_name(folder))
        if jax.process_count() > 1:
            ocp.multihost.sync_global_processes("set_aside_unreadable_checkpoints")
        self._orbax.reload()

    def wait(self) -> None:
        """Returns when nothing is being written any more; raises what a save met."""
        self._orbax.wait()

    def close(self) -> None:
        """Waits, and lets go of the folder."""
        self._orbax.close()


def load_meta(path: str | Path) -> dict[str, Any]:
    """`meta` of the newest readable checkpoint; touches no device, so that it may decide which devices to start.

    Args:
      path: a work directory, its `checkpoints` folder, or the folder of one checkpoint.

    Raises:
      UserError: no checkpoint there, or none that reads.
    """
    return newest_readable(checkpoint_folders(Path(path)), _read_meta)[1]


def stored_params(path: str | Path) -> dict[str, jax.ShapeDtypeStruct]:
    """{path: shape and dtype} of the parameters of the newest readable checkpoint; nothing is loaded.

    Args:
      path: a work directory, its `checkpoints` folder, or the folder of one checkpoint.

    Raises:
      UserError: no readable checkpoint.
    """

    def read(folder: Path) -> dict[str, jax.ShapeDtypeStruct]:
        with _context():
            leaves = flatten(ocp.checkpointables_metadata(folder).metadata[STATE]["params"])
        return {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in leaves.items()}

    return newest_readable(checkpoint_folders(Path(path)), read)[1]


def load_params(
    path: str | Path,
    abstract_params: Any,
    fresh_params: Any = None,
    allow_new: tuple[str, ...] = (),
    allow_longer: tuple[str, ...] = (),
    allow_shorter: tuple[str, ...] = (),
) -> Any:
    """Parameters of the newest readable checkpoint, placed as `abstract_params` says.

    Args:
      path: a work directory, its `checkpoints` folder, or the folder of one checkpoint.
      abstract_params: tree of `jax.ShapeDtypeStruct` with `sharding`.
      fresh_params: initialised parameters of the same structure, needed with `allow_new`.
      allow_new: regular expressions searched in parameter paths. What matches may be absent from the checkpoint, or
        of another shape there, and is then taken from `fresh_params`; or be left over in the checkpoint.
      allow_longer: regular expressions searched in parameter paths. What matches may have more rows in the checkpoint,
        of which the first ones are taken.
      allow_shorter: the same for fewer rows, of which the last is taken for those that are missing.

    Raises:
      UserError: no readable checkpoint, or parameters that are missing, left over, or of another shape.
    """
    wanted = flatten(abstract_params)

    def read(folder: Path) -> Any:
        with _context():
            stored = flatten(ocp.checkpointables_metadata(folder).metadata[STATE]["params"])
        reused = reusable(wanted, stored, allow_new, allow_longer, allow_shorter, folder)
        loaded = _load(folder, {STATE: {"params": nested(reused)}}, partial=True)[STATE]["params"]
        _check_arrays(flatten(loaded), reused)
        _check_sums(loaded, _read_meta(folder)[_CHECKSUMS], prefix="params/")
        return {name: fit_rows(leaf, wanted[name]) for name, leaf in flatten(loaded).items()}

    loaded = newest_readable(checkpoint_folders(Path(path)), read)[1]
    fresh = flatten(fresh_params) if fresh_params is not None else {}
    return jax.tree_util.tree_map_with_path(
        lambda path, _: loaded[path_name(path)] if path_name(path) in loaded else fresh[path_name(path)],
        abstract_params,
    )


def _context(partial: bool = False) -> ocp.Context:
    registry = ocp.handlers.local_registry()
    for item in (_DATA, _META):
        registry.add(ocp.handlers.JsonHandler, checkpointable_name=item)
    context = ocp.Context()
    context.checkpointables.registry = registry
    context.pytree.loading.partial_load = partial
    return context


def _load(folder: Path, items: dict[str, Any], partial: bool = False) -> dict[str, Any]:
    with _context(partial):
        return ocp.load_checkpointables(folder, items)


def _read_meta(folder: Path) -> dict[str, Any]:
    return json.loads((folder / _META / "data.json").read_text(encoding="utf-8"))


def _read(folder: Path, abstract_state: Any) -> Restored:
    data, meta = _load(folder, {_DATA: None})[_DATA], _read_meta(folder)
    state = _load(folder, {STATE: abstract_state})[STATE]
    _check_arrays(flatten(state), flatten(abstract_state))
    _check_sums(state, meta[_CHECKSUMS])
    return Restored(int(folder.name), state, data, meta)


def _check_arrays(leaves: dict[str, Any], wanted: dict[str, Any]) -> None:
    # A partial load returns shapes, not arrays, for what it did not find.
    for name, shape in wanted.items():
        leaf = leaves.get(name)
        if not isinstance(leaf, jax.Array) or leaf.shape != shape.shape or leaf.dtype != shape.dtype:
            raise ValueError(f"{name} is {leaf!r:.80}, not an array {shape.dtype}{list(shape.shape)}")


def _check_sums(tree: Any, stored: dict[str, int], prefix: str = "") -> None:
    wrong = [name for name, value in checksums(tree).items() if stored[prefix + name] != value]
    if wrong:
        raise ValueError(f"checksum mismatch: the stored bytes changed after they were written, in {', '.join(wrong)}")
