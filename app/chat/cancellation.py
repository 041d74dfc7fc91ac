"""Ending a request to the chat server from another thread, also while nothing arrives."""

import contextlib
import socket
from collections.abc import Mapping
from threading import Event, Lock
from typing import Any


class Cancellation:
    """Given along with a request; whoever holds it can end the request at any moment."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._cancelled = Event()
        self._socket: socket.socket | None = None

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End the request: its thread stops waiting, and the server sees that it was left."""
        self._cancelled.set()
        with self._lock:
            self._hang_up()

    def wait(self, seconds: float) -> bool:
        """Wait, but not after a cancellation; say whether there was one."""
        return self._cancelled.wait(seconds)

    def trace(self, step: str, facts: Mapping[str, Any]) -> None:
        """Learn of the connection; httpx calls this at each step of a request."""
        if not step.endswith(("connect_tcp.complete", "start_tls.complete")):
            return
        with self._lock:
            self._socket = facts["return_value"].get_extra_info("socket")
            if self._cancelled.is_set():
                self._hang_up()

    def _hang_up(self) -> None:
        # Closing would not wake a thread that is waiting for the next bytes; this does.
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
