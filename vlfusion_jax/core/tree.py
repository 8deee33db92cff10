"""Paths and sizes in pytrees of arrays."""

from typing import Any

import jax
import numpy as np


def path_name(path: tuple) -> str:
    """`params/encoder/kernel` for a key path of `jax.tree_util`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def flatten(tree: Any) -> dict[str, Any]:
    """Leaves by their path names, in tree order."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    """The tree of dictionaries whose leaves have these path names."""
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *folders, last = name.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = leaf
    return tree


def num_bytes(leaf: Any) -> int:
    """Bytes of an array, or of the shape that stands for one."""
    return int(np.prod(leaf.shape, dtype=np.int64)) * np.dtype(leaf.dtype).itemsize
