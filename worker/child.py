"""One training process: started with nothing but what it needs, heard, and ended for sure."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Final, Self

from app.processes import child_environment, dying_with_parent, end_group
from app.runs.child_events import (
    LONGEST_LINE_BYTES,
    AnyChildEvent,
    UnreadableEventError,
    read_event,
)
from app.settings import REPOSITORY_ROOT
from worker.run_log import RunLog

TRAINING_MODULE: Final = "worker.training.main"

_ENVIRONMENT: Final = {
    "TOKENIZERS_PARALLELISM": "false",
    # One arithmetic on one machine: a resumed run must end bit for bit like an unbroken one.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
}


class TrainingChild:
    """A training process in a session of its own, whose end nobody has to fear.

    Its events are read by a thread, so that it never waits for us: while the database is away it
    trains on, and what it says is kept.

    Args:
        run_folder: the run's folder.
        fence: the fence under which it may publish.
        module: the program, which tests replace.
        kept_descriptors: open files that it holds as long as it lives, such as the device's lock.
        environment: what it is told besides, such as which device is its own.
    """

    def __init__(
        self,
        run_folder: Path,
        fence: int,
        *,
        module: str = TRAINING_MODULE,
        kept_descriptors: tuple[int, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        training = [sys.executable, "-m", module, "--run-folder", str(run_folder)]
        training += ["--fence", str(fence)]
        self._events: SimpleQueue[AnyChildEvent] = SimpleQueue()
        self._is_gone = False
        self._log = RunLog(run_folder)
        self._log.begin_attempt(fence)
        self._process = subprocess.Popen(
            # It must not outlive the worker that watches it: nobody would count its steps, and
            # the next worker would start a second one.
            dying_with_parent(training, signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=REPOSITORY_ROOT,
            env=child_environment(**_ENVIRONMENT, **(environment or {})),
            umask=0o077,
            start_new_session=True,
            pass_fds=kept_descriptors,
        )
        self._readers = [
            threading.Thread(target=target, args=(stream,), daemon=True)
            for target, stream in (
                (self._read_events, self._process.stdout),
                (self._log.copy_from, self._process.stderr),
            )
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll()

    def next_event(self, timeout: float) -> AnyChildEvent | None:
        """Wait for the next event; None if none came in time."""
        try:
            return self._events.get(timeout=timeout)
        except Empty:
            return None

    def events_left(self) -> list[AnyChildEvent]:
        """Return what an ended process had still said."""
        for reader in self._readers:
            reader.join(timeout=5.0)
        events = []
        while (event := self.next_event(timeout=0)) is not None:
            events.append(event)
        return events

    def ask_to_stop(self) -> None:
        """Ask it to save and end (SIGTERM)."""
        if not self.has_ended:
            self._process.terminate()

    def kill(self) -> None:
        """End it and whatever it started, at once. Nothing that it published is hurt by it."""
        if self._is_gone:
            return
        end_group(self._process)
        self._is_gone = True
        for reader in self._readers:
            reader.join(timeout=5.0)

    def _read_events(self, stream: IO[bytes]) -> None:
        """Turn its lines into events until it closes the pipe; runs in a thread."""
        with stream:
            while line := stream.readline(LONGEST_LINE_BYTES):
                try:
                    self._events.put(read_event(line))
                except UnreadableEventError as error:
                    self._log.write(f"[tailor] a line that is no event was left out: {error}\n")


def kill_stale_child(pid: int, run_id: str, fence: int) -> bool:
    """Kill the training process of an earlier holder, if it is still the same process.

    Its worker may be stopped or stuck so that it cannot do it itself.
    """
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\x00")
    except (OSError, UnicodeDecodeError):
        return False
    is_ours = any(part.endswith(f"/{run_id}") for part in command) and str(fence) in command
    if not is_ours:
        return False
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def describe_exit(code: int) -> str:
    """Say how a process ended, for whoever looks after the machine."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"
