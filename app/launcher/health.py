"""Is a worker alive on this machine? Asked by the container's health check."""

from pathlib import Path

_WORKER_ARGUMENTS = b"\0worker\0--queue\0"


def worker_is_alive(processes: Path = Path("/proc")) -> bool:
    """Look for a Celery worker among the processes (Linux)."""
    return any(_WORKER_ARGUMENTS in _command(entry) for entry in processes.glob("[0-9]*"))


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        # It ended while we looked.
        return b""
