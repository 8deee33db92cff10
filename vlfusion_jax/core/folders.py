"""Where files go that can be made again."""

import os
from pathlib import Path

CACHE_VARIABLE = "VLFUSION_CACHE"
_DEFAULT = "~/.cache/vlfusion_jax"


def cache_folder() -> Path:
    """The folder that $VLFUSION_CACHE names, or ~/.cache/vlfusion_jax; it need not exist."""
    return Path(os.environ.get(CACHE_VARIABLE) or _DEFAULT).expanduser()
