"""How much memory there is, for whoever asks before taking it. Imports no torch."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import psutil

_CGROUP: Final = Path("/sys/fs/cgroup")
_LONGEST_ANSWER_SECONDS: Final = 5.0


def free_ram_bytes() -> int:
    """Return what a process could take now, within the limit of the container that it is in."""
    available = int(psutil.virtual_memory().available)
    limit = _number(_CGROUP / "memory.max")
    used = _number(_CGROUP / "memory.current")
    if limit is None or used is None:
        return available
    # Cached files count as used there but are given up as soon as memory is asked for.
    return min(available, limit - used + _cached_file_bytes())


def total_ram_bytes() -> int:
    """Return what the machine has, or what the container that it is in may use."""
    total = int(psutil.virtual_memory().total)
    limit = _number(_CGROUP / "memory.max")
    return total if limit is None else min(total, limit)


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


def _number(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _cached_file_bytes() -> int:
    try:
        lines = (_CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    facts = dict(line.split(" ", 1) for line in lines)
    return int(facts.get("inactive_file", "0")) + int(facts.get("active_file", "0"))
