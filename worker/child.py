"""One training process: started with nothing but what it needs, heard, and ended for sure."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
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


def start_training_process(
    *arguments: str,
    environment: Mapping[str, str],
    stdin: int = subprocess.DEVNULL,
    kept_descriptors: tuple[int, ...] = (),
) -> "subprocess.Popen[bytes]":
    """Start Python with these arguments, in a session of its own.

    Must be called in a thread that outlives the process, see `dying_with_parent`.
    """
    return subprocess.Popen(
        # It must not outlive the worker that watches it: nobody would count its steps, and
        # the next worker would start a second one.
        dying_with_parent([sys.executable, *arguments], signal.SIGKILL),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=REPOSITORY_ROOT,
        env=environment,
        umask=0o077,
        start_new_session=True,
        pass_fds=kept_descriptors,
    )


def training_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return all that a training process knows of its surroundings."""
    return child_environment(**_ENVIRONMENT, **(extra or {}))


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
        further_devices: on which it is to have other processes help, as CUDA_VISIBLE_DEVICES names
            them.
        finishes: it is to learn no more, and to keep the best of what it has learned.
        process: one that was told all this already; without one, a process is started.
    """

    def __init__(
        self,
        run_folder: Path,
        fence: int,
        *,
        module: str = TRAINING_MODULE,
        kept_descriptors: tuple[int, ...] = (),
        environment: Mapping[str, str] | None = None,
        further_devices: Sequence[str] = (),
        finishes: bool = False,
        process: "subprocess.Popen[bytes] | None" = None,
    ) -> None:
        self._events: SimpleQueue[AnyChildEvent] = SimpleQueue()
        self._is_gone = False
        self._is_listening = False
        self._knows_to_finish = finishes
        self._log = RunLog(run_folder)
        self._log.begin_attempt(fence)
        self._process = process or start_training_process(
            *("-m", module, "--run-folder", str(run_folder), "--fence", str(fence)),
            *(["--finish"] if finishes else []),
            *(f"--further-device={device}" for device in further_devices),
            environment=training_environment(environment),
            kept_descriptors=kept_descriptors,
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

    def ask_to_finish(self) -> None:
        """Ask it to learn no more, and to save the best that it has learned (SIGUSR1); once.

        The signal would end a process that does not listen for it yet, so that is waited for: ask
        again a moment later.
        """
        if self._is_listening and not self._knows_to_finish and not self.has_ended:
            self._process.send_signal(signal.SIGUSR1)
            self._knows_to_finish = True

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
                self._is_listening = True
                try:
                    self._events.put(read_event(line))
                except UnreadableEventError as error:
                    self._log.write(f"[tailor] a line that is no event was left out: {error}\n")


def kill_stale_child(pid: int, started: int | None) -> bool:
    """Kill the training process of an earlier holder, if it is still the same process.

    Its worker may be stopped or stuck so that it cannot do it itself.

    Args:
        pid: of the process.
        started: what `process_start` said of it; its number may be another's by now.
    """
    if started is None or process_start(pid) != started:
        return False
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def process_start(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since the machine's start.

    With its number it names a process for as long as the machine runs. None if there is none, or
    elsewhere than on Linux.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def describe_exit(code: int) -> str:
    """Say how a process ended, for whoever looks after the machine."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"
