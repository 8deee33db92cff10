"""Settings beside a model's weights, such as `config.json`."""

import json
from pathlib import Path
from typing import Any

from vlfusion_jax.core.errors import UserError


def read_json_object(file: Path) -> dict[str, Any]:
    """Content of a JSON file that was fetched with a model; empty where there is none.

    Raises:
      UserError: it holds something else.
    """
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is no JSON object ({error}); fetch it again.") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is no JSON object; fetch it again.")
    return content
