"""How much memory there is, for whoever asks before taking it. Imports no torch."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import psutil

_CGROUP: Final = Path("/sys/fs/cgroup")
_OWN_GROUPS: Final = Path("/proc/self/cgroup")
_LONGEST_ANSWER_SECONDS: Final = 5.0


def free_ram_bytes() -> int:
    """Return what a process could take now, within the limit of the container that it is in."""
    least = int(psutil.virtual_memory().available)
    for folder in memory_groups():
        limit, used = _limit(folder), _number(folder, "memory.current", "memory.usage_in_bytes")
        if limit is not None and used is not None:
            # Cached files count as used there but are given up as soon as memory is asked for.
            least = min(least, limit - used + _cached_file_bytes(folder))
    return least


def total_ram_bytes() -> int:
    """Return what the machine has, or what the container that it is in may use."""
    total = int(psutil.virtual_memory().total)
    limits = [limit for folder in memory_groups() if (limit := _limit(folder)) is not None]
    return min([total, *limits])


def memory_groups() -> list[Path]:
    """Return the folders of the control groups that bound this process's memory.

    In a container its own group is the root that it sees; a service of systemd, or a batch job,
    finds itself some way below, and every group on the way counts. The first version of control
    groups keeps memory in a folder of its own.
    """
    folders = [_CGROUP, _CGROUP / "memory"]
    try:
        lines = _OWN_GROUPS.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers in {"", "memory"}:
            own = _CGROUP / controllers / path.strip("/")
            folders += [own, *(up for up in own.parents if up.is_relative_to(_CGROUP))]
    return [folder for folder in dict.fromkeys(folders) if _is_memory_group(folder)]


def _is_memory_group(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("memory.max", "memory.limit_in_bytes"))


def free_gpu_bytes(card: str | None = None) -> int | None:
    """Return the free memory of a graphics card; None if there is none.

    Args:
        card: its UUID; None for the one that a new process would use, which is the first of those
            that CUDA_VISIBLE_DEVICES names, or of all.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    first = card or os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip()
    command = [program, "--query-gpu=memory.free", "--format=csv,noheader,nounits", f"--id={first}"]
    try:
        answer = subprocess.run(
            command, capture_output=True, check=True, text=True, timeout=_LONGEST_ANSWER_SECONDS
        )
        return int(answer.stdout.split()[0]) * 1024**2
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _limit(folder: Path) -> int | None:
    return _number(folder, "memory.max", "memory.limit_in_bytes")


def _number(folder: Path, *names: str) -> int | None:
    """Return the number in the first of these files that holds one."""
    for name in names:
        try:
            text = (folder / name).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            return int(text)
    return None


def _cached_file_bytes(folder: Path) -> int:
    try:
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    facts = dict(line.split(" ", 1) for line in lines)
    # The first version counts without the groups below, and once more with them.
    names = ("inactive_file", "active_file")
    return sum(int(facts.get(f"total_{name}", facts.get(name, "0"))) for name in names)
