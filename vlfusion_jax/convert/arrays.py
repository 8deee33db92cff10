"""Arrays of a checkpoint in our layout, and ours in theirs: a re-ordering, never arithmetic."""

from collections.abc import Sequence

import numpy as np

from vlfusion_jax.convert.name_map import CONV, LINEAR, LINEAR_IN, TABLE, Entry

Shape = tuple[int, ...]


def to_ours(theirs: np.ndarray, entry: Entry, shape: Shape) -> np.ndarray:
    """Their array, of `whole_shape`, as our parameter of `shape`; zeros where `entry.size` says that ours is longer."""
    x = theirs.reshape(theirs.shape[entry.ones :])
    if entry.rows:
        x = x[slice(*entry.rows)]
    if entry.reverse:
        x = x[::-1]
    x = x.reshape(_core_shape(entry, shape))
    if entry.how == CONV:
        x = x.transpose(2, 3, 1, 0)
    elif entry.how in (LINEAR, LINEAR_IN):
        x = x.T
    if entry.size:
        axis = _padded_axis(entry)
        widths = [(0, 0)] * len(shape)
        widths[axis] = (0, shape[axis] - entry.size)
        x = np.pad(x, widths)
    return np.ascontiguousarray(x).reshape(shape)


def to_theirs(ours: Sequence[np.ndarray], entries: Sequence[Entry]) -> np.ndarray:
    """Our parameters as the one array of theirs that `entries` share; the inverse of `to_ours`."""
    parts = []
    for x, entry in sorted(zip(ours, entries, strict=True), key=lambda pair: pair[1].rows or (0, 0)):
        core = _core_shape(entry, x.shape)
        if entry.size:
            x = x[..., : entry.size] if _padded_axis(entry) == -1 else x[: entry.size]
        if entry.how == CONV:
            out, inputs, height, width = core
            x = x.reshape(height, width, inputs, out).transpose(3, 2, 0, 1)
        elif entry.how in (LINEAR, LINEAR_IN):
            x = x.reshape(core[::-1]).T
        if entry.reverse:
            x = x[::-1]
        parts.append(x.reshape(_part_shape(entry, core)))
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return np.ascontiguousarray(whole).reshape((1,) * entries[0].ones + whole.shape)


def whole_shape(entries: Sequence[Entry], shapes: Sequence[Shape]) -> Shape:
    """Shape of their array that holds our parameters of `shapes`."""
    parts = [_part_shape(entry, _core_shape(entry, shape)) for entry, shape in zip(entries, shapes, strict=True)]
    whole = parts[0]
    if entries[0].rows:
        whole = (max(entry.rows[1] for entry in entries), *whole[1:])
    return (1,) * entries[0].ones + whole


def _core_shape(entry: Entry, shape: Shape) -> Shape:
    """Shape of what is ours in their array, in their order."""
    if entry.how == CONV:
        if len(shape) == 2:  # patches: height, width and the three colours in one dim
            side = round((shape[0] / 3) ** 0.5)
            shape = (side, side, 3, shape[1])
        return shape[3], shape[2], shape[0], shape[1]
    if entry.how == LINEAR:
        return entry.size or int(np.prod(shape[1:])), shape[0]
    if entry.how == LINEAR_IN:
        return shape[-1], int(np.prod(shape[:-1]))
    if entry.how == TABLE:
        return (entry.size or shape[0], *shape[1:])
    if not shape:
        return ()
    return (entry.size or int(np.prod(shape)),)


def _part_shape(entry: Entry, core: Shape) -> Shape:
    if not entry.rows:
        return core
    count, size = entry.rows[1] - entry.rows[0], int(np.prod(core))
    return (count,) if size == count else (count, size // count)


def _padded_axis(entry: Entry) -> int:
    return -1 if entry.how == LINEAR else 0
