"""What a training process prints, kept in the run's folder for whoever looks after the machine."""

import contextlib
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

from app.runs.log_file import LOG_FILE

_MOST_BYTES: Final = 1024 * 1024
_KEPT_BYTES: Final = 256 * 1024
_PIECE_BYTES: Final = 8192


class RunLog:
    """Appends to runs/<id>/log.txt and keeps only its end when it grows long.

    A log that cannot be written, because the disk is full, is no reason to stop a training.
    """

    def __init__(self, run_folder: Path) -> None:
        self._path = run_folder / LOG_FILE
        self._lock = threading.Lock()

    def begin_attempt(self, fence: int) -> None:
        moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        self.write(f"[tailor] {moment} UTC: the training process starts (fence {fence})\n")

    def write(self, text: str) -> None:
        self._append(text.encode("utf-8", "replace"))

    def copy_from(self, stream: IO[bytes]) -> None:
        """Copy a process's standard error to its end; runs in a thread."""
        with stream:
            while piece := os.read(stream.fileno(), _PIECE_BYTES):
                self._append(piece)

    def _append(self, content: bytes) -> None:
        with self._lock, contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
            with os.fdopen(os.open(self._path, flags, 0o600), "ab") as log:
                log.write(content)
                size = log.tell()
            if size > _MOST_BYTES:
                self._keep_the_end()

    def _keep_the_end(self) -> None:
        with self._path.open("rb+") as log:
            log.seek(-_KEPT_BYTES, os.SEEK_END)
            end = log.read()
            log.seek(0)
            log.write(b"[tailor] the beginning was cut off\n" + end)
            log.truncate()
