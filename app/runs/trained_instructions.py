"""The instruction that a version was trained with, if all of its examples share one."""

import json
from itertools import islice
from typing import Final

from app.storage.folders import Storage

_LINES_TO_COMPARE: Final = 20


def trained_instructions(storage: Storage, run_id: str) -> str:
    """Return the instruction that a run's examples begin with; empty if they differ.

    A version answers as it learned to only when it is told the same again.
    """
    try:
        with (storage.path("runs", run_id) / "data" / "train.jsonl").open(encoding="utf-8") as file:
            examples = [json.loads(line) for line in islice(file, _LINES_TO_COMPARE)]
    except (OSError, ValueError):
        return ""
    found = {_instruction(example) for example in examples}
    return found.pop() if len(found) == 1 else ""


def _instruction(example: dict[str, object]) -> str:
    messages = example.get("messages")
    if isinstance(messages, list) and messages and messages[0].get("role") == "system":
        return str(messages[0].get("content", ""))
    return ""
