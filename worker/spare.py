"""A training process that is ready before anybody asks for it.

Importing torch, transformers and peft takes seconds, in which whoever pressed the button sees
nothing. So while nothing is trained, a worker keeps one process that has done it and waits. It is
told its run over a socket, together with the device's lock, and is from then on what any other
training process is. No training depends on it: where there is none that fits, one is started as if
this file did not exist, and no training waits for one.
"""

import logging
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

from app.processes import end_group
from app.settings import REPOSITORY_ROOT, get_settings
from app.storage.folders import get_storage
from worker.child import TRAINING_MODULE, start_training_process, training_environment
from worker.devices import describe, environment_for
from worker.free_memory import free_ram_bytes
from worker.training.orders import Order, send_order

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS: Final = 5.0
# One that dies at once would die again: its libraries are broken, or memory is short.
_SECONDS_AFTER_A_DEATH: Final = 120.0
_OLDEST_SECONDS: Final = 24 * 3600.0
_LEAST_FREE_BYTES: Final = 2 * 1024**3
_CODE_FOLDERS: Final = ("app", "worker")


class SpareProcess:
    """One waiting process. Must be made in a thread that outlives it."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self._told = environment
        self._environment = training_environment(environment)
        self._code = newest_code()
        self._born = time.monotonic()
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._process = start_training_process(
                *("-m", module, "--spare"), environment=self._environment, stdin=theirs.fileno()
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    @property
    def is_as_new(self) -> bool:
        """Whether a process that was started now would be the same."""
        return (
            time.monotonic() - self._born < _OLDEST_SECONDS
            and self._environment == training_environment(self._told)
            and self._code == newest_code()
        )

    def hand_over(self, order: Order, descriptors: tuple[int, ...]) -> "subprocess.Popen[bytes]":
        """Tell it its work; from here on it is the caller's.

        Raises:
            OSError: if it is gone.
        """
        with self._line:
            send_order(self._line, order, descriptors)
        return self._process

    def end(self) -> None:
        self._line.close()
        end_group(self._process)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


class SpareKeeper:
    """Sees to it that one is ready while nothing is trained. Runs in a thread of its own.

    Args:
        environment: what its processes are told besides, such as which device is their own.
        module: the program, which tests replace.
    """

    def __init__(self, environment: Mapping[str, str], module: str = TRAINING_MODULE) -> None:
        self._environment = dict(environment)
        self._module = module
        self._spare: SpareProcess | None = None
        self._lock = threading.Lock()
        self._look = threading.Event()
        self._is_idle = True
        self._not_before = 0.0

    def start(self) -> None:
        """Begin to keep one. The thread starts the processes, because they die with it."""
        threading.Thread(target=self._keep, name="spare", daemon=True).start()

    def take(
        self, order: Order, descriptors: tuple[int, ...], environment: Mapping[str, str]
    ) -> "subprocess.Popen[bytes] | None":
        """Return a process that is about to do this, or None; keeps none until `go_on`."""
        with self._lock:
            self._is_idle = False
            spare, self._spare = self._spare, None
        if spare is None:
            return None
        if spare.is_alive and spare.is_as_new and self._environment == environment:
            with suppress(OSError):
                return spare.hand_over(order, descriptors)
        spare.end()
        return None

    def rest(self) -> None:
        """End the one that waits, which suits no run of the next; keep none until `go_on`."""
        with self._lock:
            self._is_idle = False
            spare, self._spare = self._spare, None
        if spare is not None:
            spare.end()

    def go_on(self) -> None:
        """Keep one again: nothing is trained any more."""
        self._is_idle = True
        self._look.set()

    @property
    def waiting_pid(self) -> int | None:
        """The process that waits, if there is one."""
        with self._lock:
            return self._spare.pid if self._spare and self._spare.is_alive else None

    def _keep(self) -> None:
        while True:
            with self._lock:
                self._renew()
            self._look.wait(_SECONDS_BETWEEN_LOOKS)
            self._look.clear()

    def _renew(self) -> None:
        now = time.monotonic()
        if self._spare is not None and not (self._spare.is_alive and self._spare.is_as_new):
            if not self._spare.is_alive:
                self._not_before = now + _SECONDS_AFTER_A_DEATH
            self._spare.end()
            self._spare = None
        if self._spare is None and self._is_idle and now >= self._not_before and _has_room():
            try:
                self._spare = SpareProcess(self._module, self._environment)
            except OSError:
                logger.exception("No training process could be started ahead of time.")
                self._not_before = now + _SECONDS_AFTER_A_DEATH


@cache
def spares() -> SpareKeeper | None:
    """Return this process's keeper, None if it keeps no spares; first called where runs are done.

    A machine with several cards keeps none: a process that has imported torch is bound to the
    card it was told, and which one will be free nobody knows before.
    """
    facts = describe(get_storage())
    if not get_settings().spare_training_process or facts.count > 1:
        return None
    (device,) = facts.each()
    keeper = SpareKeeper(environment_for(device))
    keeper.start()
    return keeper


def newest_code() -> int:
    """Return when Tailor's own files were last changed, in nanoseconds."""
    return max(
        (
            path.stat().st_mtime_ns
            for folder in _CODE_FOLDERS
            for path in Path(REPOSITORY_ROOT, folder).rglob("*.py")
        ),
        default=0,
    )


def _has_room() -> bool:
    return free_ram_bytes() >= _LEAST_FREE_BYTES
