"""What an adapter's own description says of it; read without loading anything."""

import json
from pathlib import Path
from typing import Any, Final

CONFIG_FILE: Final = "adapter_config.json"


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Return the content of adapter_config.json.

    Raises:
        OSError, ValueError, TypeError: if it is not there, or is no JSON object.
    """
    return dict(json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")))


def virtual_tokens(adapter_folder: Path | None) -> int:
    """Return how many places of the context an adapter takes before any text."""
    if adapter_folder is None:
        return 0
    try:
        return int(read_adapter_config(adapter_folder).get("num_virtual_tokens") or 0)
    except OSError:
        return 0
