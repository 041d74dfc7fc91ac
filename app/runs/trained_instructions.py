"""The instruction that a version was trained with, if all of its examples share one."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Final

from app.datasets.snapshot import DATA_FOLDER, TRAIN_FILE
from app.storage.folders import Storage

_VERSIONS_REMEMBERED: Final = 256


def trained_instructions(storage: Storage, run_id: str) -> str:
    """Return the instruction that a run's examples begin with; empty if they differ.

    A version answers as it learned to only when it is told the same again.
    """
    path = storage.path("runs", run_id) / DATA_FOLDER / TRAIN_FILE
    try:
        facts = path.stat()
        return _shared_instruction(path, facts.st_size, facts.st_mtime_ns)
    except (OSError, ValueError):
        return ""


# Size and time are there to tell files apart: what was frozen once is read once. Only a file whose
# lines all agree is read to its end.
@lru_cache(maxsize=_VERSIONS_REMEMBERED)
def _shared_instruction(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as lines:
        shared = _instruction(next(lines, b"{}"))
        if not shared:
            return ""
        opening = _opening(shared)
        # Finding bytes takes a fraction of reading JSON, and a file may hold a million lines.
        is_shared = all(opening in line or _instruction(line) == shared for line in lines)
    return shared if is_shared else ""


def _instruction(line: bytes) -> str:
    messages = json.loads(line).get("messages")
    if isinstance(messages, list) and messages and messages[0].get("role") == "system":
        return str(messages[0].get("content", ""))
    return ""


def _opening(instruction: str) -> bytes:
    """Return how a frozen line with this instruction begins, after its id.

    These bytes stand nowhere else in a line: within a text every quotation mark is escaped.
    """
    message = {"role": "system", "content": instruction}
    text = json.dumps(message, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return f'"messages":[{text}'.encode()
