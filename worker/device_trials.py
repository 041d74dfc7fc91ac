"""See to it that this machine has been measured for the planner, and never in a run's way.

The trial is a process of its own at the lowest priority. It begins when nothing runs and nothing
waits that this machine could begin, and whoever begins a run ends it; another one is tried later.
Its answer lies in the file that this worker's announcements are read from, and stays good until a
library changes.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from app.processes import child_environment, dying_with_parent, end_group
from app.runs.device_constants import MEASURED_KEY, TRIAL_VERSION
from app.runs.queue.claiming import is_any_for
from app.settings import REPOSITORY_ROOT
from app.storage.folders import Storage
from app.workers.device import FEW_BITS_KEY, FEW_BITS_LIBRARIES, DeviceFacts, DeviceKind
from worker.device_trial import few_bits
from worker.devices import describe, environment_for, host_name, measurements_file

logger = logging.getLogger(__name__)

TRIAL_MODULE: Final = "worker.device_trial.main"
_NOT_BEFORE_SECONDS: Final = 30.0
_MOST_SECONDS: Final = 300.0
_LONGEST_PAUSE_SECONDS: Final = 3600.0
_COMPARED: Final = ("torch", "transformers", "peft")


class DeviceTrials:
    """Starts a trial when one is due, and looks after it; asked every few seconds."""

    def __init__(self, storage: Storage, not_before: float = _NOT_BEFORE_SECONDS) -> None:
        self._storage = storage
        self._ready_at = time.monotonic() + not_before
        self._pause = _NOT_BEFORE_SECONDS
        self._child: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    def look(self, session: Session) -> None:
        """Begin, end or leave alone."""
        now = time.monotonic()
        if self._child is not None:
            self._look_after(self._child, now)
        elif now >= self._ready_at and self._is_due(session):
            self._begin(now)

    def _is_due(self, session: Session) -> bool:
        return (
            not is_current(self._storage)
            # What this machine cannot begin may wait for the very answer of the trial.
            and not is_any_for(session, describe(self._storage).each())
            and running_trial(self._storage) is None
        )

    def _begin(self, now: float) -> None:
        self._started_at = now
        logger.info("This machine is measured for the planner.")
        command = [sys.executable, "-m", TRIAL_MODULE, str(measurements_file(self._storage))]
        self._child = subprocess.Popen(
            dying_with_parent(["nice", "-n", "19", *command], signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=child_environment(**environment_for(describe(self._storage).each()[0])),
            cwd=REPOSITORY_ROOT,
            umask=0o077,
            start_new_session=True,
        )
        _pid_file(self._storage).write_text(str(self._child.pid), encoding="ascii")

    def _look_after(self, child: "subprocess.Popen[bytes]", now: float) -> None:
        if child.poll() is None and now < self._started_at + _MOST_SECONDS:
            return
        end_group(child)
        _pid_file(self._storage).unlink(missing_ok=True)
        # What came to nothing is tried again: more and more seldom, because it may never succeed.
        self._child, self._ready_at = None, now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)


def is_current(storage: Storage) -> bool:
    """Say whether this machine was measured with the libraries that it has now."""
    facts = describe(storage)
    # What the trial calculates, it calculates on the processor: that says nothing of a card.
    is_measured = facts.kind is not DeviceKind.CPU or _is_good(
        facts, MEASURED_KEY, TRIAL_VERSION, _COMPARED
    )
    return is_measured and _is_good(facts, FEW_BITS_KEY, few_bits.VERSION, FEW_BITS_LIBRARIES)


def _is_good(facts: DeviceFacts, key: str, version: int, compared: Iterable[str]) -> bool:
    """Say whether a part of what was measured is of our kind and of today's libraries."""
    return facts.measured_now(key, compared).get("version") == version


def running_trial(storage: Storage) -> int | None:
    """Return the process of a trial that is under way on this machine."""
    try:
        pid = int(_pid_file(storage).read_text(encoding="ascii"))
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (OSError, ValueError):
        return None
    return pid if TRIAL_MODULE in command else None


def end_trial(storage: Storage) -> None:
    """End a trial that is under way: a run is about to begin."""
    pid = running_trial(storage)
    if pid is None:
        return
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        logger.debug("The trial had ended.")


def _pid_file(storage: Storage) -> Path:
    return storage.folder("keys") / f"trial-{host_name()}.pid"
