"""Are the workers alive on this machine? Asked by the container's health check."""

from pathlib import Path

from app.launcher.programs import WORKER_OF_QUEUE


def missing_workers(processes: Path = Path("/proc")) -> list[str]:
    """Return the queues for which no worker is among the processes (Linux)."""
    commands = [_command(entry) for entry in processes.glob("[0-9]*")]
    return [
        queue
        for queue in WORKER_OF_QUEUE
        if not any(f"\0worker\0--queue\0{queue}\0".encode() in command for command in commands)
    ]


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        # It ended while we looked.
        return b""
