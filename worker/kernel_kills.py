"""Whether the kernel ended a process because memory ran out: it says so nowhere but in a count.

Linux counts such kills for the machine (/proc/vmstat) and for each control group (memory.events,
or memory.oom_control in their first version). A count that rose while a process ran and was ended
by SIGKILL tells that one from a kill by hand.
"""

import signal
from pathlib import Path
from typing import Final

from worker.free_memory import memory_groups

_VMSTAT: Final = Path("/proc/vmstat")
_GROUP_FILES: Final = ("memory.events", "memory.oom_control")


class KernelKills:
    """The counts as they stood when this was made."""

    def __init__(self) -> None:
        self._before = _counts()

    def explain(self, exit_code: int) -> bool:
        """Say whether a process that ended like this was most likely ended for want of memory.

        Where nothing is counted, a SIGKILL that was not ours is taken for one.
        """
        if exit_code != -signal.SIGKILL:
            return False
        after = _counts()
        if not after:
            return True
        return any(count > self._before.get(file, 0) for file, count in after.items())


def _counts() -> dict[Path, int]:
    files = [_VMSTAT, *(group / name for group in memory_groups() for name in _GROUP_FILES)]
    return {file: count for file in files if (count := _count(file)) is not None}


def _count(file: Path) -> int | None:
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(" ")
        if name == "oom_kill" and value.strip().isdigit():
            return int(value)
    return None
