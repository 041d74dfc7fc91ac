"""The log of a run's training processes, for whoever looks after the machine."""

import os
from pathlib import Path
from typing import Final

LOG_FILE: Final = "log.txt"
_READ_BYTES: Final = 64 * 1024


def last_lines(run_folder: Path, count: int = 100) -> list[str]:
    """Return the last lines, or none if nothing was printed."""
    try:
        with (run_folder / LOG_FILE).open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - _READ_BYTES))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line[:500] for line in text.splitlines()[-count:]]
