"""Paths and sizes in pytrees of arrays."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util


def path_name(path: tuple) -> str:
    """`params/encoder/kernel` for a key path of `jax.tree_util`."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def flatten(tree: Any) -> dict[str, Any]:
    """Leaves by their path names, in tree order."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of dictionaries whose leaves have these path names."""
    return traverse_util.unflatten_dict(dict(leaves), sep="/")


def num_bytes(leaf: Any) -> int:
    """Bytes of an array, or of the shape that stands for one."""
    return int(np.prod(leaf.shape, dtype=np.int64)) * np.dtype(leaf.dtype).itemsize
