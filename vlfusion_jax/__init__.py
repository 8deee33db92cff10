"""Vision-language fusion Transformers in JAX."""

import importlib
from typing import Any

# Imported when asked for: jax takes seconds to import.
_PUBLIC = {"load": "vlfusion_jax.serve.model"}


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
