"""Parameters from a checkpoint's tensors and back, with every key and every parameter accounted for."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from vlfusion_jax.convert.arrays import to_ours, to_theirs, whole_shape
from vlfusion_jax.convert.name_map import LAYER, Entry, NameMap
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.names import HEAD

Params = dict[str, np.ndarray]
Read = Callable[[str], np.ndarray]


@dataclass
class Accounting:
    """What became of every key and every parameter.

    Attributes:
      used: {their key: our paths}.
      copies: {their key: the key that it repeats}.
      ignored: {their key: why}.
      new: our parameters that the checkpoint does not have: heads that start fresh.
      resized: {our path: (shape of what was read, shape that it has now)}, on request.
    """

    used: dict[str, list[str]] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The report, a line each."""
        return [
            *(f"used     {key} -> {', '.join(ours)}" for key, ours in sorted(self.used.items())),
            *(f"copy     {key} of {other}" for key, other in sorted(self.copies.items())),
            *(f"ignored  {key}: {why}" for key, why in sorted(self.ignored.items())),
            *(f"new      {path}" for path in sorted(self.new)),
            *(f"resized  {path} {list(old)} -> {list(now)}" for path, (old, now) in sorted(self.resized.items())),
            f"{len(self.used)} keys used, {len(self.copies)} copies, {len(self.ignored)} ignored, {len(self.new)} "
            "parameters new",
        ]


def import_weights(
    keys: Iterable[str],
    read: Read,
    names: NameMap,
    shapes: Mapping[str, tuple[int, ...]],
    where: str,
    fresh: tuple[str, ...] = (),
) -> tuple[Params, Accounting]:
    """Our parameters from a checkpoint, one tensor in memory at a time beside them.

    Args:
      keys: of the checkpoint.
      read: the array of a key.
      names: the family's map.
      shapes: {path: shape} of all our parameters; the layers of a scanned stage have a leading dim.
      where: the checkpoint, for messages.
      fresh: heads that the checkpoint lacks.

    Returns:
      {path: array} without what is new, and the accounting.

    Raises:
      UserError: naming every key that is missing, left over or of another shape, and every copy that differs.
    """
    keys, account, params = set(keys), Accounting(), {}
    complaints, groups = [], _groups(names.entries)
    sources = _sources(groups, names.copies, keys)
    for named, entries in groups.items():
        paths = [_place(entry.ours, layer, shapes) for entry, layer in entries]
        key = sources.get(named, named)
        if key not in keys:
            complaints.append(f"missing key {key}")
            continue
        array = read(key)
        expected = whole_shape(
            [entry for entry, _ in entries], [_leaf_shape(shapes, path, layer) for path, layer in paths]
        )
        if array.shape != expected:
            complaints.append(f"{key} has shape {list(array.shape)}, expected {list(expected)}")
            continue
        for (entry, _), (path, layer) in zip(entries, paths, strict=True):
            leaf = to_ours(array, entry, _leaf_shape(shapes, path, layer)).astype(np.float32, copy=False)
            if layer is None:
                params[path] = leaf
            else:
                params.setdefault(path, np.empty(shapes[path], np.float32))[layer] = leaf
        account.used[key] = [path if layer is None else f"{path}[{layer}]" for path, layer in paths]
    complaints += _account_for_rest(keys - set(sources.values()), read, names, sources, account)
    account.new = sorted(set(shapes) - set(params))
    starts = tuple(f"{HEAD}{head}/" for head in fresh)
    complaints += [f"nothing fills parameter {path}" for path in account.new if not path.startswith(starts)]
    if complaints:
        raise UserError(f"{where} does not hold the weights of this model:\n  " + "\n  ".join(sorted(complaints)))
    return params, account


def export_weights(params: Mapping[str, np.ndarray], names: NameMap) -> dict[str, np.ndarray]:
    """Their tensors from {path: array} of ours; keys none of whose parameters we have are left out.

    Raises:
      UserError: parameters of ours that the family's map does not know.
    """
    shapes = {path: array.shape for path, array in params.items()}
    tensors, seen = {}, set()
    for key, entries in _groups(names.entries).items():
        paths = [_place(entry.ours, layer, shapes) for entry, layer in entries]
        if any(path not in params for path, _ in paths):
            continue
        arrays = [params[path] if layer is None else params[path][layer] for path, layer in paths]
        tensors[key] = to_theirs(arrays, [entry for entry, _ in entries])
        seen.update(path for path, _ in paths)
    unknown = sorted(set(params) - seen)
    if unknown:
        raise UserError(f"the other format has no place for: {', '.join(unknown)}.")
    return tensors


def without_heads(names: NameMap, heads: Iterable[str]) -> NameMap:
    """The map without what only these heads of ours read, which it ignores."""
    ignored, entries = {}, names.entries
    for head in heads:
        start, why = f"{HEAD}{head}/", f"head {head!r} is left out"
        left = {entry.theirs for entry in entries if entry.ours.startswith(start)}
        left |= {copy for copy in names.copies if _first_of(copy, names.copies) in left}
        ignored |= {f"^{re.escape(key)}$": why for key in left}
        entries = tuple(entry for entry in entries if not entry.ours.startswith(start))
    return replace(names, entries=entries, ignored=ignored | names.ignored)


def missing_keys(keys: Iterable[str], names: NameMap) -> list[str]:
    """Keys of the map that `keys` lacks, with all their copies."""
    groups = _groups(names.entries)
    return sorted(set(groups) - set(_sources(groups, names.copies, set(keys))))


def _groups(entries: Iterable[Entry]) -> dict[str, list[tuple[Entry, int | None]]]:
    """{their key: entries that read it, with our layer}."""
    groups: dict[str, list[tuple[Entry, int | None]]] = {}
    for entry in entries:
        for each, layer in entry.unrolled():
            groups.setdefault(each.theirs, []).append((each, layer))
    return groups


def _place(ours: str, layer: int | None, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, int | None]:
    """Path of a leaf, and its index in the leading dim where the stage is scanned."""
    if layer is None:
        return ours, None
    scanned = ours.replace(LAYER, "layers")
    return (scanned, layer) if scanned in shapes else (ours.replace(LAYER, f"layer_{layer}"), None)


def _leaf_shape(shapes: Mapping[str, tuple[int, ...]], path: str, layer: int | None) -> tuple[int, ...]:
    return shapes[path] if layer is None else shapes[path][1:]


def _sources(named: Iterable[str], copies: Mapping[str, str], keys: set[str]) -> dict[str, str]:
    """{key that the map names: key to read}: itself, or where that is missing, a copy of it; none where all are."""
    sources = {}
    for key in named:
        tied = (copy for copy in sorted(copies) if copy in keys and _first_of(copy, copies) == key)
        found = key if key in keys else next(tied, None)
        if found is not None:
            sources[key] = found
    return sources


def _first_of(key: str, copies: Mapping[str, str]) -> str:
    """The key that `key` repeats in the end, itself included."""
    while key in copies:
        key = copies[key]
    return key


def _account_for_rest(
    keys: set[str], read: Read, names: NameMap, sources: Mapping[str, str], account: Accounting
) -> list[str]:
    """Complaints about keys that are read for no entry."""
    complaints = []
    for key in sorted(keys):
        reason = next((why for pattern, why in names.ignored.items() if re.search(pattern, key)), None)
        tied = sources.get(_first_of(key, names.copies))
        if tied is not None:
            if np.array_equal(read(key), read(tied)):
                account.copies[key] = tied
            else:
                complaints.append(f"{key} differs from {tied}, with which it should be tied")
        elif reason:
            account.ignored[key] = reason
        else:
            complaints.append(f"unexpected key {key}")
    return complaints
